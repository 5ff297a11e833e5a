"""News of jobs, sent to whoever asked for it."""
