"""How connections to SQLite are set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Engine


def prepare(engine: Engine, synchronous: str, *, writes: bool) -> None:
    """Have each connection set up as it should be, and each transaction that writes begin as one.

    Args:
        engine: Makes the connections.
        synchronous: `normal` or `full`, as in `StoreSettings`.
        writes: Whether its transactions write.
    """

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        # The driver opens transactions only before it writes, and then without the lock that a reader turned writer may not get.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            "cache_size = -4096",
            "journal_size_limit = 16777216",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if writes:

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
