import helper; print(helper.__file__, helper.__name__)
