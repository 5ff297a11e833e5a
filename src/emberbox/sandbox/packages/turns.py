"""A gate that lets so many through at once, and those who wait by turns of their owners."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """Places that owners take in turn: who wants many waits for others' first after each of its own.

    Args:
        places: How many there are.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: OrderedDict[str | None, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def place(self, owner: str | None) -> AsyncIterator[None]:
        """Hold a place for as long as the block lasts; waits until it is the owner's turn.

        May be cancelled while it waits.
        """
        await self._take(owner)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, owner: str | None) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                # The place came together with the cancellation: it is the next one's.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            owner, line = self._waiting.popitem(last=False)
            following = line.popleft()
            if line:
                self._waiting[owner] = line
            if not following.done():
                following.set_result(None)
                return
        self._free += 1
