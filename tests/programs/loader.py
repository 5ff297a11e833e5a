print(type(__loader__).__name__, sorted(globals()))
