print(open('/proc/self/cmdline').read().rstrip('\0').split('\0')[1:])
