"""What is told to be fine is done first: a VM started, a process bounded, a file of another user made."""
