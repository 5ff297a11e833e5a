"""What is done to files in many places: locks, writing at once, reading tar archives, globs and paths."""
