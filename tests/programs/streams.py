import sys; print(*[(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.seekable(), s.fileno()) for s in (sys.stdout, sys.stderr)])
