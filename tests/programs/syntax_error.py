print('a'
print(
