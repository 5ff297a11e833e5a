"""Stand-ins for others' programs that a machine may lack: they do what Emberbox relies on."""
