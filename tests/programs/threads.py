import threading
t = threading.Thread(target=print, args=('t',)); t.start(); t.join(); print(threading.main_thread().name, threading.current_thread() is threading.main_thread(), threading.active_count())
