# Written by scripts/sync_client.py from _async/__init__.py; change that instead.
"""The client's source. `scripts/sync_client.py` writes the blocking one from it, into `_sync`."""
