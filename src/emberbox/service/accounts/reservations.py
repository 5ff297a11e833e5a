"""Bytes that are on their way to the disk: promised before the first one is written.

A promise counts as if it had been stored, for its team and for the disk. What a transaction then
writes is charged by it (`emberbox.service.accounts.holdings`), and the promise ends. A team that is
refused has left nothing behind.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from emberbox.service.accounts.holdings import check_share, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emberbox.store.database import Database


class Reservations:
    """The promises of one process.

    Args:
        db: Tells what teams store.
        reserve: Counts bytes as written to the disk that will be, negative ones as given back;
            raises `NoSpace`. Called from any thread.
    """

    def __init__(self, db: Database, reserve: Callable[[int], None]) -> None:
        self._db = db
        self._reserve = reserve
        self._promised: Counter[str] = Counter()
        self._lock = threading.Lock()

    def promised(self, team_id: str) -> int:
        """Return how many bytes are promised to a team."""
        return self._promised[team_id]

    async def begin(self, team_id: str, bound: float) -> Reservation:
        """Return a promise of nothing yet, to be used by `with`.

        Args:
            team_id: To whom.
            bound: Most bytes that the team may store; 0 for no bound.
        """
        return Reservation(self, team_id, await stored_bytes(self._db, team_id), bound)

    def move(self, team_id: str, stored: int, bound: float, *, kept: int, written: int) -> None:
        """Promise `kept` bytes more to a team and `written` more of the disk; negative ones are given back.

        Safe to call from any thread. Raises `QuotaExceeded` or `NoSpace`: nothing was promised.
        """
        with self._lock:
            if kept > 0:
                check_share(stored + self._promised[team_id], kept, bound)
            self._reserve(written)
            self._promised[team_id] += kept
            if self._promised[team_id] <= 0:
                del self._promised[team_id]


class Reservation:
    """What is promised for one upload, or one job's end. A `with` block ends it.

    Its methods may be called from any thread.

    Args:
        reservations: All of them.
        team_id: Whose it is.
        stored: What the team stored as it began, in bytes.
        bound: Most that the team may store; 0 for no bound.
    """

    def __init__(self, reservations: Reservations, team_id: str, stored: int, bound: float) -> None:
        self._all = reservations
        self._team_id = team_id
        self._stored = stored
        self._bound = bound
        self._kept = 0
        self._written = 0

    @property
    def kept(self) -> int:
        """How many bytes are promised to the team."""
        return self._kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def keep(self, size: int) -> None:
        """See that `size` bytes in all are promised to the team, if they are not. Raises `QuotaExceeded`."""
        if size > self._kept:
            self._move(size - self._kept, 0)

    def shrink(self, size: int) -> None:
        """Give back what is promised to the team above `size` bytes."""
        if size < self._kept:
            self._move(size - self._kept, 0)

    def write(self, size: int) -> None:
        """Have so many more bytes of the disk promised. Raises `NoSpace`."""
        self._move(0, size)

    def end(self) -> None:
        """Give everything back. Repeating is harmless."""
        self._move(-self._kept, -self._written)

    def _move(self, kept: int, written: int) -> None:
        self._all.move(self._team_id, self._stored, self._bound, kept=kept, written=written)
        self._kept += kept
        self._written += written
