import inspect
def f(): return 1
print(inspect.getsource(f), [r.function for r in inspect.stack()])
