"""A database: connections, transactions, and what differs between SQLite and PostgreSQL."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from emberbox.errors import InvalidSettings, NoSpace, StoreError
from emberbox.store.sqlite_threads import DatabaseThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.config import StoreSettings
    from emberbox.store.sqlite_threads import Body

_T = TypeVar("_T")


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
    drivers = {
        "sqlite": "sqlite+aiosqlite",
        "postgresql": "postgresql+asyncpg",
        "postgres": "postgresql+asyncpg",
    }
    backend = url.drivername.partition("+")[0]
    if backend not in drivers:
        raise InvalidSettings(
            f"store.url: there is no database {backend!r} here; use postgresql:// or sqlite://"
        )
    return url.set(drivername=drivers[backend]).render_as_string(hide_password=False)


class Database:
    """A pool of connections to one database; ended by `close`.

    What a transaction does can be written as a block (`writing`, `reading`) or as a function
    (`write`, `read`). A function runs on SQLite in the database's thread from its beginning to its
    end, which is for what every job does.

    Args:
        url: As `database_url` makes it.
        connections: Most connections to PostgreSQL.
        synchronous: SQLite's, as in `StoreSettings`.
    """

    def __init__(self, url: str, *, connections: int = 8, synchronous: str = "normal") -> None:
        self.sqlite = make_url(url).drivername.startswith("sqlite")
        if self.sqlite:
            self._threads = DatabaseThreads(url, synchronous)
        else:
            self._engine = create_async_engine(
                url,
                pool_size=connections,
                max_overflow=0,
                pool_timeout=30,
                pool_pre_ping=True,
                hide_parameters=True,
            )

    async def close(self) -> None:
        """Close all connections. Repeating is harmless."""
        await (self._threads.close() if self.sqlite else self._engine.dispose())

    async def write(self, body: Body[_T]) -> _T:
        """Run a transaction that writes, and return what `body` returns.

        Args:
            body: Takes the connection; must wait for nothing but that. It may run in another
                thread, and runs once.

        Raises:
            StoreError, NoSpace, IntegrityError: As `writing` does. On SQLite, a transaction whose
            caller is cancelled is
                carried out all the same before that is raised.
        """
        if not self.sqlite:
            async with self.writing() as connection:
                return await body(connection)
        async with _wrapped():
            return await self._threads.write(body)

    async def read(self, body: Body[_T]) -> _T:
        """Run what reads, and return what `body` returns; see `write`. Raises `StoreError`."""
        if not self.sqlite:
            async with self.reading() as connection:
                return await body(connection)
        async with _wrapped():
            return await self._threads.read(body)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; it is committed at the end, or rolled back on an error.

        Raises:
            StoreError: The database failed; nothing was written.
            NoSpace: Its disk is full; nothing was written.
            IntegrityError: SQLAlchemy's own, for callers that insert what may be there.
        """
        async with _wrapped(), self._threads.writing() if self.sqlite else self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection to read from. Raises `StoreError`."""
        async with (
            _wrapped(),
            self._threads.reading() if self.sqlite else self._engine.connect() as connection,
        ):
            yield connection


@asynccontextmanager
async def _wrapped() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        text = str(error.orig)
        if "disk is full" in text or "No space left" in text:
            raise NoSpace(
                "the database's disk is full; free some space, or let retention delete more", detail=text
            ) from error
        raise StoreError("the database failed; try again", detail=text) from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError("the database could not be reached; try again", detail=str(error)) from error
