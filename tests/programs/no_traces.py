import gc, sys; print([o for o in gc.get_objects() if 'emberbox' in str(getattr(o, '__file__', ''))], sorted(sys.path_importer_cache.keys() - set(sys.path)))
