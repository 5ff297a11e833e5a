import sys; print(repr(sys.stdin.buffer.read()), sys.stdin.isatty(), sys.stdin.seekable(), sys.stdin.name, sys.stdin.mode)
