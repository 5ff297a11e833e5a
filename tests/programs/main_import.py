import __main__; print(__main__.__file__, __main__.x if hasattr(__main__, 'x') else None); x = 1; import importlib; print(importlib.import_module('__main__').x)
