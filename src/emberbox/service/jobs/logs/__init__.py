"""The logs of jobs: written while they run, read at any time."""
