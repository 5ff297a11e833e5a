"""The client's source. `scripts/sync_client.py` writes the blocking one from it, into `_sync`."""
