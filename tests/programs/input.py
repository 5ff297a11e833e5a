print(input('name? ')); print(input()); input()
