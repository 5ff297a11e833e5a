"""Slots: numbers of live machines. They are used again, lowest first, so nothing that is derived from them runs out."""

from __future__ import annotations

import asyncio
import heapq

from emberbox.errors import CapacityExhausted


class Slots:
    """A bounded set of numbers from `first` on.

    Args:
        first: The lowest number.
        count: How many there are.
    """

    def __init__(self, first: int, count: int) -> None:
        self.count = count
        self._free = list(range(first, first + count))
        self._available = asyncio.Semaphore(count)

    @property
    def in_use(self) -> int:
        """How many are taken."""
        return self.count - len(self._free)

    async def take(self, timeout_s: float) -> int:
        """Wait for a free number, first come, first served. Raises `CapacityExhausted` after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._available.acquire()
        except TimeoutError:
            raise CapacityExhausted(
                f"all {self.count} machines are in use, and none became free within {timeout_s:g} s; "
                "try again later, or raise capacity.machines"
            ) from None
        return heapq.heappop(self._free)

    def give_back(self, number: int) -> None:
        """Return a number that `take` gave."""
        heapq.heappush(self._free, number)
        self._available.release()
