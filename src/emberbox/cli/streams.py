"""Standard streams by descriptor, without ever blocking the loop or changing what other processes share.

`O_NONBLOCK` belongs to the open file, which a terminal's shell shares, so it is never set: readiness is waited for instead.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

READ_BYTES = 65_536
SAFE_BYTES = select.PIPE_BUF
"""A pipe that is ready takes this much without blocking."""


async def read_pieces(descriptor: int) -> AsyncIterator[bytes]:
    """Yield what arrives at a descriptor until its end. Safe to cancel: nothing that was read is lost before it is yielded."""
    blocks = _can_wait(descriptor)
    loop = asyncio.get_running_loop()
    while True:
        if blocks:
            await _ready(descriptor, loop.add_reader, loop.remove_reader)
        data = os.read(descriptor, READ_BYTES)
        if not data:
            return
        yield data


class Sink:
    """Writes bytes unchanged to a descriptor, waiting while its reader is slow. Raises `BrokenPipeError` when that has gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._blocks = _can_wait(descriptor)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    async def write(self, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            if self._blocks and not self._poll.poll(0):
                loop = asyncio.get_running_loop()
                await _ready(self._descriptor, loop.add_writer, loop.remove_writer)
            size = SAFE_BYTES if self._blocks else len(view)
            view = view[os.write(self._descriptor, view[:size]) :]


def _can_wait(descriptor: int) -> bool:
    """Tell whether readiness can be waited for; files and folders are always ready, and epoll refuses them."""
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
