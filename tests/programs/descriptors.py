import os; print(sorted(os.listdir('/proc/self/fd'))[:5], os.umask(0))
