"""A gate that lets so many through at once, and those who wait by turns of their owners."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """Places that owners take in turn: who wants many waits for others' first after each of its own.

    Args:
        places: How many there are.
        each: How many of them one owner holds at most; None for all. The others stay free for other owners.
    """

    def __init__(self, places: int, each: int | None = None) -> None:
        self._free = places
        self._each = places if each is None else each
        self._held: Counter[str | None] = Counter()
        self._waiting: OrderedDict[str | None, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def place(self, owner: str | None) -> AsyncIterator[None]:
        """Hold a place for as long as the block lasts; waits until it is the owner's turn.

        May be cancelled while it waits.
        """
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(mine)
        self._let_in()
        try:
            await mine
            yield
        finally:
            # A place may also have come together with a cancellation.
            if mine.done() and not mine.cancelled():
                self._leave(owner)

    def _leave(self, owner: str | None) -> None:
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._let_in()

    def _let_in(self) -> None:
        """Give free places to those who may have one: the first of each owner in turn."""
        while self._free:
            owners = [owner for owner in self._waiting if self._held[owner] < self._each]
            if not owners:
                return
            line = self._waiting.pop(owners[0])
            following = line.popleft()
            if line:
                self._waiting[owners[0]] = line
            if not following.done():
                self._free -= 1
                self._held[owners[0]] += 1
                following.set_result(None)
