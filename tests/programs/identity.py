import sys; print(__name__, __file__, sys.argv, sys.path, __builtins__, __spec__, __package__, __doc__, __cached__)
