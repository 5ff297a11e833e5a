"""`emberbox run`: one program in a VM of its own on this machine."""
