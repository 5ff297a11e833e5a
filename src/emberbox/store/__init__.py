"""Persistence: the database that holds the service's truth."""

from emberbox.store.database import Database

__all__ = ["Database"]
