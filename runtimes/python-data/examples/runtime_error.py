print("before", flush=True)
print([1, 2, 3][7])
