"""Revisions of the schema, for Alembic; run by `emberbox.store.migrate`."""
