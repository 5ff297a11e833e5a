"""How connections to SQLite are set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Engine


WRITER_CACHE_KIB = 2048
READER_CACHE_KIB = 512
"""Bounds of the pages that a connection keeps. Each fills its own as the database grows, and there
are several readers: that is what a service's memory grows by over its first thousands of jobs. The
system's own cache holds the file for all of them."""


def prepare(engine: Engine, synchronous: str, *, writes: bool) -> None:
    """Have each connection set up as it should be, and each transaction that writes begin as one.

    Args:
        engine: Makes the connections.
        synchronous: `normal` or `full`, as in `StoreSettings`.
        writes: Whether its transactions write.
    """

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        # The driver opens transactions only before it writes, and then without the lock that a
        # reader turned writer may not get.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            f"cache_size = -{WRITER_CACHE_KIB if writes else READER_CACHE_KIB}",
            "journal_size_limit = 16777216",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if writes:

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
