"""Stand-ins for programs of others that a machine may lack: they do for real what those do, as far as Emberbox relies on it."""
