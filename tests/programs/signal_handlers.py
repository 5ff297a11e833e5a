import signal; print([(s.name, str(signal.getsignal(s))) for s in (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)])
