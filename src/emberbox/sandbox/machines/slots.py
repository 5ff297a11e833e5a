"""Slots: numbers of live machines.

They are used again, lowest first, so nothing that is derived from them runs out.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted

if TYPE_CHECKING:
    from collections.abc import Callable


class Slots:
    """A bounded set of numbers from `first` on.

    Args:
        first: The lowest number.
        count: How many there are.

    Attributes:
        on_shortage: Called by whoever has to wait, so that what is kept in stock gives its number
            up; None for nobody.
    """

    def __init__(self, first: int, count: int) -> None:
        self.count = count
        self._free = list(range(first, first + count))
        self._available = asyncio.Semaphore(count)
        self.on_shortage: Callable[[], object] | None = None

    @property
    def in_use(self) -> int:
        """How many are taken."""
        return self.count - len(self._free)

    @property
    def free(self) -> bool:
        """Whether there is a free number that nobody waits for: then `take` does not wait."""
        return not self._available.locked()

    async def take(self, timeout_s: float) -> int:
        """Wait for a free number, first come, first served.

        Raises `CapacityExhausted` after `timeout_s` seconds.
        """
        if not self.free and self.on_shortage is not None:
            self.on_shortage()
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
