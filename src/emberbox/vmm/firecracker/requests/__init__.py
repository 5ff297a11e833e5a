"""Requests to Firecracker's API, and what it answers."""
