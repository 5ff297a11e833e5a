"""Standard streams by descriptor, without ever blocking the loop or changing what other processes share.

`O_NONBLOCK` belongs to the open file, which a terminal's shell shares, so it is never set:
readiness is waited for instead. On Windows, where it cannot be, a thread reads and writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

_T = TypeVar("_T")
READ_BYTES = 65_536
_HAS_READINESS = hasattr(select, "poll")
"""False on Windows."""
SAFE_BYTES = getattr(select, "PIPE_BUF", 512)
"""A pipe that is ready takes this much without blocking."""


async def read_pieces(descriptor: int) -> AsyncIterator[bytes]:
    """Yield what arrives at a descriptor until its end.

    Safe to cancel: nothing that was read is lost before it is yielded.
    """
    blocks = _can_wait(descriptor)
    loop = asyncio.get_running_loop()
    while True:
        if blocks:
            await _ready(descriptor, loop.add_reader, loop.remove_reader)
        data = (
            os.read(descriptor, READ_BYTES)
            if _HAS_READINESS
            else await _in_thread(lambda: os.read(descriptor, READ_BYTES))
        )
        if not data:
            return
        yield data


class Sink:
    """Writes bytes unchanged to a descriptor, waiting while its reader is slow.

    Raises `BrokenPipeError` when that has gone.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._blocks = _can_wait(descriptor)

    async def write(self, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            if not _HAS_READINESS:
                piece = view[:READ_BYTES]
                view = view[await _in_thread(lambda piece=piece: os.write(self._descriptor, piece)) :]  # type: ignore[misc]
                continue
            if self._blocks and not _is_writable(self._descriptor):
                loop = asyncio.get_running_loop()
                await _ready(self._descriptor, loop.add_writer, loop.remove_writer)
            size = SAFE_BYTES if self._blocks else len(view)
            view = view[os.write(self._descriptor, view[:size]) :]


@contextlib.asynccontextmanager
async def feeding(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run what passes input on while the block shows output; its failure is raised at the block's end."""
    feeder = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        feeder.cancel()
        await asyncio.wait((feeder,))
    if not feeder.cancelled():
        feeder.result()


def _is_writable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


async def _in_thread(call: Callable[[], _T]) -> _T:
    """Return what a call returns that blocks.

    When this is cancelled the call goes on, in a thread that no exit waits for.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: OSError | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(cast("_T", value))

    def work() -> None:
        value, failure = None, None
        try:
            value = call()
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=work, name="emberbox-stream", daemon=True).start()
    return await result


def _can_wait(descriptor: int) -> bool:
    """Tell whether readiness can be waited for.

    Files and folders are always ready, and epoll refuses them.
    """
    if not _HAS_READINESS:
        return False
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISCHR(mode):
        return os.isatty(descriptor)
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def _ready(descriptor: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    waiter = asyncio.get_running_loop().create_future()

    def ready() -> None:
        if not waiter.done():
            waiter.set_result(None)

    add(descriptor, ready)
    try:
        await waiter
    finally:
        remove(descriptor)
