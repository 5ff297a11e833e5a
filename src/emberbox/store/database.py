"""A database: connections, transactions, and what differs between SQLite and PostgreSQL."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from emberbox.errors import InvalidInput, InvalidSettings, NoSpace, StoreError
from emberbox.ids import is_id
from emberbox.store.sqlite_threads import Body, DatabaseThreads
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Column, Executable, RowMapping, Select

    from emberbox.config import StoreSettings

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
    (`write`, `read`). A function is carried out to its end also when its caller is cancelled: a
    connection does not survive that in mid-question. On SQLite it runs in the database's thread
    from its beginning to its end, which is for what every job does. A single statement is
    `rows`, `row` or `scalar`; one that writes, `change` or `changed`.

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
            StoreError, NoSpace, IntegrityError: As `writing` does.
        """
        async with _wrapped():
            if self.sqlite:
                return await self._threads.write(body)
            return await shielded(_within(self._engine.begin(), body))

    async def read(self, body: Body[_T]) -> _T:
        """Run what reads, and return what `body` returns; see `write`. Raises `StoreError`."""
        async with _wrapped():
            if self.sqlite:
                return await self._threads.read(body)
            return await shielded(_within(self._engine.connect(), body))

    async def rows(self, query: Executable, values: dict[str, Any] | None = None) -> Sequence[RowMapping]:
        """Return all rows that a query finds. Raises `StoreError`."""
        return await self.read(lambda connection: _fetched(connection, query, values))

    async def row(self, query: Executable, values: dict[str, Any] | None = None) -> RowMapping | None:
        """Return the first row that a query finds; None when it finds none. Raises `StoreError`."""
        return next(iter(await self.rows(query, values)), None)

    async def page(
        self,
        query: Select[Any],
        column: Column[Any],
        make: Callable[[RowMapping], _T],
        cursor: str | None,
        limit: int,
        *,
        prefix: str,
    ) -> tuple[list[_T], str | None]:
        """Return a page of what a query finds, and the cursor of the next page.

        Args:
            query: Without order and limit; has the column `id` among its own.
            column: The ids, by which the rows are ordered.
            make: Makes of a row what the page shows.
            cursor: None for the first page, else what the page before returned.
            limit: Most rows of the page.
            prefix: What these ids begin with, such as `job`.

        Returns:
            What the page shows, and the cursor; None on the last page.

        Raises:
            InvalidInput: No page gave that cursor out.
            StoreError: The database failed.
        """
        query = query.order_by(column.desc()).limit(limit + 1)
        if cursor is not None:
            if not is_id(cursor, prefix):
                raise InvalidInput(
                    "this cursor is none of this list; take 'next_cursor' of a page as it is, "
                    "or leave it out to begin with the first page"
                )
            query = query.where(column < cursor)
        rows = await self.rows(query)
        following = rows[limit - 1]["id"] if len(rows) > limit else None
        return [make(row) for row in rows[:limit]], following

    async def scalar(self, query: Executable) -> Any:
        """Return the first column of the first row that a query finds; None without. Raises `StoreError`."""
        return await self.read(lambda connection: connection.scalar(query))

    async def change(self, statement: Executable, values: Any = None) -> int:
        """Carry out one statement that writes; returns how many rows it changed. Raises as `writing` does.

        `values` may be a list, for which the statement is carried out one by one.
        """

        async def execute(connection: AsyncConnection) -> int:
            return (await connection.execute(statement, values)).rowcount

        return await self.write(execute)

    async def changed(
        self, statement: Executable, values: dict[str, Any] | None = None
    ) -> Sequence[RowMapping]:
        """Carry out one statement that writes; returns the rows that it returns. Raises as `writing` does."""
        return await self.write(lambda connection: _fetched(connection, statement, values))

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


async def _fetched(
    connection: AsyncConnection, statement: Executable, values: dict[str, Any] | None
) -> Sequence[RowMapping]:
    return (await connection.execute(statement, values)).mappings().all()


async def _within(opened: AbstractAsyncContextManager[AsyncConnection], body: Body[_T]) -> _T:
    async with opened as connection:
        return await body(connection)


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
