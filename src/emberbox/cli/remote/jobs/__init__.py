"""Work for a server: scripts, jobs, and what they write."""
