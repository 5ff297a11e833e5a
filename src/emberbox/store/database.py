"""A database: connections, transactions, and what differs between SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from emberbox.errors import InvalidSettings, NoSpace, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.config import StoreSettings

_log = logging.getLogger(__name__)

BUSY_MS = 15_000
"""How long SQLite waits for a lock that another process holds, such as a backup."""
READERS = 4


def now_us() -> int:
    """Return the time in whole microseconds since the epoch."""
    return time.time_ns() // 1000


def database_url(settings: StoreSettings, data: Path) -> str:
    """Return SQLAlchemy's URL, with the asynchronous driver, of the database that the settings name.

    Raises:
        InvalidSettings: `store.url` is no URL, or of another database.
    """
    try:
        url = make_url(settings.url or f"sqlite:///{data / 'service.db'}")
    except ArgumentError as error:
        raise InvalidSettings("store.url must be postgresql://USER@HOST/NAME or sqlite:///FILE") from error
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
    backend = url.drivername.partition("+")[0]
    if backend not in drivers:
        raise InvalidSettings(f"store.url: there is no database {backend!r} here; use postgresql:// or sqlite://")
    return url.set(drivername=drivers[backend]).render_as_string(hide_password=False)


class Database:
    """A pool of connections to one database. Made by `open`, ended by `close`.

    SQLite has one writer at a time: writing transactions wait for each other here, in order, and not in SQLite, where they
    would time out under load.
    """

    def __init__(self, url: str, *, connections: int = 8, synchronous: str = "normal") -> None:
        self.sqlite = make_url(url).drivername.startswith("sqlite")
        self._turn = asyncio.Lock()
        if self.sqlite:
            self._writer = _sqlite(url, 1, synchronous)
            # Readers take no part in transactions: each statement sees what was committed before it.
            self._reader = _sqlite(url, READERS, synchronous, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
        else:
            self._writer = self._reader = create_async_engine(
                url, pool_size=connections, max_overflow=0, pool_timeout=30, pool_pre_ping=True, hide_parameters=True
            )

    async def close(self) -> None:
        """Close all connections. Repeating is harmless."""
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; it is committed at the end, or rolled back on an error.

        Raises:
            StoreError: The database failed; nothing was written.
            NoSpace: Its disk is full; nothing was written.
            IntegrityError: SQLAlchemy's own, for callers that insert what may be there.
        """
        if not self.sqlite:
            async with _wrapped(), self._writer.begin() as connection:
                yield connection
            return
        async with self._turn, _wrapped(), self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection to read from. Raises `StoreError`."""
        async with _wrapped(), self._reader.connect() as connection:
            yield connection


def _sqlite(url: str, connections: int, synchronous: str, **options: Any) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"timeout": BUSY_MS / 1000},
        # Rows hold secrets, and errors are logged.
        hide_parameters=True,
        **options,
    )

    @event.listens_for(engine.sync_engine, "connect")
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

    if not options:

        @event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@asynccontextmanager
async def _wrapped() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        text = str(error.orig)
        if "disk is full" in text or "No space left" in text:
            raise NoSpace("the database's disk is full; free some space, or let retention delete more", detail=text) from error
        raise StoreError("the database failed; try again", detail=text) from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError("the database could not be reached; try again", detail=str(error)) from error
