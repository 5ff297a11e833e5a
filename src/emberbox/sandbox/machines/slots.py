"""Slots: numbers of live machines, and the memory that they may come to use.

Numbers are used again, lowest first, so nothing that is derived from them runs out. Memory counts
as used from the start: a machine that was let in never lacks what its guest was promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


class Slots:
    """A bounded set of numbers from `first` on, over which a bounded amount of memory is spread.

    Args:
        first: The lowest number.
        count: How many there are.
        memory_mib: Memory of all that are taken together, in MiB.

    Attributes:
        on_shortage: Called by whoever has to wait, so that what is kept in stock is given up. It
            returns the memory in MiB that becomes free by that, and 0 when there is nothing left;
            None for nobody.
    """

    def __init__(self, first: int, count: int, memory_mib: int) -> None:
        self.count = count
        self.memory_mib = memory_mib
        self._free = list(range(first, first + count))
        self._taken: dict[int, int] = {}
        self._waiting: deque[tuple[int, asyncio.Future[int]]] = deque()
        self.on_shortage: Callable[[], int] | None = None

    @property
    def in_use(self) -> int:
        """How many are taken."""
        return len(self._taken)

    @property
    def committed_mib(self) -> int:
        """The memory of all that are taken, in MiB."""
        return sum(self._taken.values())

    def fits(self, memory_mib: int) -> bool:
        """Tell whether `take` would not wait: there is room for so much that nobody waits for."""
        return not self._waiting and self._has_room(memory_mib)

    def check(self, memory_mib: int) -> None:
        """Raise `InvalidInput` where there is never so much memory."""
        if memory_mib > self.memory_mib:
            raise InvalidInput(
                f"a VM that needs {memory_mib:,} MiB never fits into the {self.memory_mib:,} MiB that VMs "
                "have here; ask for less memory, or raise capacity.memory_mib"
            )

    async def take(self, memory_mib: int, timeout_s: float) -> int:
        """Wait for a free number with so much memory, first come, first served.

        Raises:
            InvalidInput: There is never so much.
            CapacityExhausted: Not within `timeout_s` seconds.
        """
        self.check(memory_mib)
        if self.fits(memory_mib):
            return self._give(memory_mib)
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((memory_mib, turn))
        self._have_given_up(memory_mib)
        try:
            async with asyncio.timeout(timeout_s):
                return await turn
        except BaseException as error:
            self._leave(memory_mib, turn)
            if isinstance(error, TimeoutError):
                raise CapacityExhausted(self._exhausted(memory_mib, timeout_s)) from None
            raise

    def give_back(self, number: int) -> None:
        """Return a number that `take` gave."""
        del self._taken[number]
        heapq.heappush(self._free, number)
        self._serve()

    def _has_room(self, memory_mib: int) -> bool:
        return bool(self._free) and self.committed_mib + memory_mib <= self.memory_mib

    def _give(self, memory_mib: int) -> int:
        number = heapq.heappop(self._free)
        self._taken[number] = memory_mib
        return number

    def _serve(self) -> None:
        """Serve those who wait, in their order: who needs much is not passed over for ever."""
        while self._waiting and self._has_room(self._waiting[0][0]):
            memory_mib, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self._give(memory_mib))

    def _leave(self, memory_mib: int, turn: asyncio.Future[int]) -> None:
        """Take a turn out of the line; what it was given at the last moment goes back."""
        if turn.done() and not turn.cancelled():
            self.give_back(turn.result())
            return
        with contextlib.suppress(ValueError):
            self._waiting.remove((memory_mib, turn))
        self._serve()

    def _have_given_up(self, memory_mib: int) -> None:
        freed_mib = 0
        while self.on_shortage is not None and freed_mib < memory_mib:
            given_mib = self.on_shortage()
            if not given_mib:
                return
            freed_mib += given_mib

    def _exhausted(self, memory_mib: int, timeout_s: float) -> str:
        later = f"none became free within {timeout_s:g} s; try again later"
        if not self._free:
            return f"all {self.count} machines are in use, and {later}, or raise capacity.machines"
        return (
            f"VMs have {self.committed_mib:,} of the {self.memory_mib:,} MiB of memory here, one more needs "
            f"{memory_mib:,}, and {later}, ask for less memory, or raise capacity.memory_mib"
        )
