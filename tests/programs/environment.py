import os, posix; print(sorted(os.environ.items()), sorted(posix.environ.items()), os.getcwd())
