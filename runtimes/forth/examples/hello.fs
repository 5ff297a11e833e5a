.( hello, world) cr bye
