"""The server process: its sockets, its log, systemd, and its first key."""
