"""SQLite in threads of its own.

The asynchronous driver changes threads for each step of each statement: opening a cursor,
executing, fetching, closing. That costs more than the statements themselves, and a caller that is
cancelled between two steps leaves its connection behind. Here a statement is one call in a thread,
or a whole transaction is; a call that was begun is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from emberbox.tasks import shielded

_T = TypeVar("_T")
Body = Callable[[AsyncConnection], Awaitable[_T]]
"""What a transaction does with its connection. It may wait for that alone."""

READERS = 4
BUSY_S = 15.0
"""How long SQLite waits for a lock that another process holds, such as a backup."""
WRITER_CACHE_KIB = 2048
READER_CACHE_KIB = 512
"""Bounds of the pages that a connection keeps. Each fills its own as the database grows, and there
are several readers: that is what a service's memory grows by over its first thousands of jobs. The
system's own cache holds the file for all of them."""


class DatabaseThreads:
    """Threads that hold connections to an SQLite database: one that writes, and a few that read.

    SQLite has one writer at a time: writing transactions wait for each other here, in order, and
    not in SQLite, where they would time out under load.

    Args:
        url: The database.
        synchronous: As in `StoreSettings`.
    """

    def __init__(self, url: str, synchronous: str) -> None:
        self._turn = asyncio.Lock()
        self._places = asyncio.Semaphore(READERS)
        self._writer = _engine(url, 1, synchronous, writes=True)
        self._reader = _engine(url, READERS, synchronous, writes=False)
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")

    async def write(self, body: Body[_T]) -> _T:
        """Run `body` in a transaction that writes, in one call."""
        async with self._turn:
            return await _in_thread(self._writing, _driven, self._writer.begin, body)

    async def read(self, body: Body[_T]) -> _T:
        """Run `body` on a connection that reads, in one call."""
        async with self._places:
            return await _in_thread(self._reading, _driven, self._reader.connect, body)

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that writes, with one call for each statement."""
        return _opened(self._turn, self._writing, self._writer, commit=True)

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a connection to read from, with one call for each statement."""
        return _opened(self._places, self._reading, self._reader, commit=False)

    async def close(self) -> None:
        """Wait for what is under way and close all connections. Repeating is harmless."""
        for threads, engine in ((self._writing, self._writer), (self._reading, self._reader)):
            await asyncio.to_thread(threads.shutdown)
            engine.dispose()


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[..., _T], *arguments: Any) -> _T:
    return await shielded(asyncio.get_running_loop().run_in_executor(threads, work, *arguments))


@asynccontextmanager
async def _opened(
    place: AbstractAsyncContextManager[object], threads: ThreadPoolExecutor, engine: Engine, *, commit: bool
) -> AsyncIterator[AsyncConnection]:
    held: list[Connection] = []
    good = False
    async with place:
        try:
            await _in_thread(threads, _begin, engine, held)
            yield cast("AsyncConnection", _ThreadedConnection(held[0], threads))
            good = commit
        finally:
            await _in_thread(threads, _end, held, good)


class _Stepless:
    """A connection whose methods are asynchronous by name alone: they have happened when they return."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Any) -> Any:
        return (await self.execute(statement)).scalar()


class _ThreadedConnection(_Stepless):
    """A connection as asynchronous code sees it: each statement is a call in a thread, with all its rows."""

    def __init__(self, connection: Connection, threads: ThreadPoolExecutor) -> None:
        super().__init__(connection)
        self._threads = threads

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return await _in_thread(self._threads, _executed, self._connection, statement, parameters)

    async def run_sync(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await _in_thread(self._threads, work, self._connection, *arguments)


def _executed(connection: Connection, statement: Any, parameters: Any) -> Any:
    result = connection.execute(statement, parameters)
    return result.freeze()() if result.returns_rows else result


def _begin(engine: Engine, held: list[Connection]) -> None:
    """Open a connection and put it into `held`, where a caller that is cancelled meanwhile still finds it."""
    connection = engine.connect()
    held.append(connection)
    connection.begin()


def _end(held: list[Connection], good: bool) -> None:
    for connection in held:
        try:
            if good:
                connection.commit()
        finally:
            connection.close()


def _driven(opened: Callable[[], AbstractContextManager[Connection]], body: Body[_T]) -> _T:
    """Run a coroutine that never has to wait, without an event loop."""
    with opened() as connection:
        coroutine = cast("Coroutine[Any, Any, _T]", body(cast("AsyncConnection", _Stepless(connection))))
        try:
            coroutine.send(None)
        except StopIteration as end:
            return cast("_T", end.value)
        coroutine.close()
        raise RuntimeError("a transaction waited for something else than its database")


def _engine(url: str, connections: int, synchronous: str, *, writes: bool) -> Engine:
    # Readers take no part in transactions: each statement sees what was committed before it.
    options: dict[str, Any] = (
        {} if writes else {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    )
    engine = create_engine(
        make_url(url).set(drivername="sqlite+pysqlite"),
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
        # Rows hold secrets, and errors are logged.
        hide_parameters=True,
        **options,
    )
    _prepare(engine, synchronous, writes=writes)
    return engine


def _prepare(engine: Engine, synchronous: str, *, writes: bool) -> None:
    """Have each connection set up as it should be, and each transaction that writes begin as one."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
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
