"""SQLite in threads of its own.

The asynchronous driver changes threads for each step of each statement: opening a cursor,
executing, fetching, closing. That costs more than the statements themselves, and a caller that is
cancelled between two steps leaves its connection behind. Here a statement is one call in a thread,
or a whole transaction is; a call that was begun is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from emberbox.store.sqlite import prepare
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from sqlalchemy import Connection, Engine

_T = TypeVar("_T")
Body = Callable[[AsyncConnection], Awaitable[_T]]
"""What a transaction does with its connection. It may wait for that alone."""

READERS = 4
BUSY_S = 15.0
"""How long SQLite waits for a lock that another process holds, such as a backup."""


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
            return await _in_thread(self._writing, _transaction, self._writer, body)

    async def read(self, body: Body[_T]) -> _T:
        """Run `body` on a connection that reads, in one call."""
        async with self._places:
            return await _in_thread(self._reading, _look, self._reader, body)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes, with one call for each statement."""
        held: list[Connection] = []
        good = False
        async with self._turn:
            try:
                await _in_thread(self._writing, _begin, self._writer, held)
                yield cast("AsyncConnection", _ThreadedConnection(held[0], self._writing))
                good = True
            finally:
                await _in_thread(self._writing, _end, held, good)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection to read from, with one call for each statement."""
        held: list[Connection] = []
        async with self._places:
            try:
                await _in_thread(self._reading, _begin, self._reader, held)
                yield cast("AsyncConnection", _ThreadedConnection(held[0], self._reading))
            finally:
                await _in_thread(self._reading, _end, held, False)

    async def close(self) -> None:
        """Wait for what is under way and close all connections. Repeating is harmless."""
        for threads, engine in ((self._writing, self._writer), (self._reading, self._reader)):
            await asyncio.to_thread(threads.shutdown)
            engine.dispose()


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[..., _T], *arguments: Any) -> _T:
    async def call() -> _T:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    return await shielded(call())


class _ThreadedConnection:
    """A connection as asynchronous code sees it: each statement is a call in a thread, with all its rows."""

    def __init__(self, connection: Connection, threads: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._threads = threads
        self.dialect = connection.dialect

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return await _in_thread(self._threads, _executed, self._connection, statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return (await self.execute(statement, parameters)).scalar()

    async def run_sync(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await _in_thread(self._threads, work, self._connection, *arguments)


class _Stepless:
    """A connection whose methods are asynchronous by name alone: they have happened when they return."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)


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


def _transaction(engine: Engine, body: Body[_T]) -> _T:
    with engine.begin() as connection:
        return _driven(body, connection)


def _look(engine: Engine, body: Body[_T]) -> _T:
    with engine.connect() as connection:
        return _driven(body, connection)


def _driven(body: Body[_T], connection: Connection) -> _T:
    """Run a coroutine that never has to wait, without an event loop."""
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
    prepare(engine, synchronous, writes=writes)
    return engine
