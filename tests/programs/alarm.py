import signal
signal.signal(signal.SIGALRM, lambda *a: print('ring'))
signal.setitimer(signal.ITIMER_REAL, .01)
signal.pause()
