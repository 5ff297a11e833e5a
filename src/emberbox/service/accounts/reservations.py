"""Bytes that are on their way to the disk: promised before the first one is written.

A promise counts as if it had been stored, for its team and key and for the disk. What a transaction
then writes is charged by it (`emberbox.service.accounts.holdings`), and the promise ends. Who is
refused has left nothing behind.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from emberbox.service.accounts.holdings import check_share, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emberbox.service.accounts.quota import Share
    from emberbox.store.database import Database


class Reservations:
    """The promises of one process.

    Args:
        db: Tells what is stored.
        reserve: Counts bytes as written to the disk that will be, negative ones as given back;
            raises `NoSpace`. Called from any thread.
    """

    def __init__(self, db: Database, reserve: Callable[[int], None]) -> None:
        self._db = db
        self._reserve = reserve
        self._promised: Counter[str] = Counter()
        self._lock = threading.Lock()

    def promised(self, owner_id: str) -> int:
        """Return how many bytes are promised to a team or a key."""
        return self._promised[owner_id]

    def begin(self, shares: Sequence[Share]) -> Reservation:
        """Return a promise of nothing yet, to be used by `with`.

        Args:
            shares: What may be stored by those to whom it is.
        """
        return Reservation(self, shares)

    async def stored(self, shares: Sequence[Share]) -> dict[str, int]:
        """Return how many bytes are stored by those whose shares these are."""
        return await stored_bytes(self._db, [share.id for share in shares])

    def move(self, shares: Sequence[Share], stored: Mapping[str, int], *, kept: int, written: int) -> None:
        """Promise `kept` bytes more of the shares and `written` of the disk; negative ones are given back.

        Safe to call from any thread. Raises `QuotaExceeded` or `NoSpace`: nothing was promised.
        """
        with self._lock:
            if kept > 0:
                for share in shares:
                    check_share(share, stored.get(share.id, 0) + self._promised[share.id], kept)
            self._reserve(written)
            for share in shares:
                self._promised[share.id] += kept
                if self._promised[share.id] <= 0:
                    del self._promised[share.id]


class Reservation:
    """What is promised for one upload, or for what one job leaves. A `with` block ends it.

    Its methods may be called from any thread, by one at a time.

    Args:
        reservations: All of them.
        shares: What may be stored by those to whom it is.
    """

    def __init__(self, reservations: Reservations, shares: Sequence[Share]) -> None:
        self._all = reservations
        self._shares = shares
        self._stored: Mapping[str, int] = {}
        self._kept = 0
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def kept(self) -> int:
        """How many bytes are promised of the shares."""
        return self._kept

    async def look(self) -> None:
        """Read what is stored by now. Call it before the first promise. Raises `StoreError`."""
        self._stored = await self._all.stored(self._shares)

    def keep(self, size: int) -> None:
        """See that `size` bytes in all are promised of the shares. Raises `QuotaExceeded`."""
        if size > self._kept:
            self._move(size - self._kept, 0)

    def shrink(self, size: int) -> None:
        """Give back what is promised of the shares above `size` bytes."""
        if size < self._kept:
            self._move(size - self._kept, 0)

    def write(self, size: int) -> None:
        """Have so many more bytes of the disk promised. Raises `NoSpace`."""
        self._move(0, size)

    def end(self) -> None:
        """Give everything back. Repeating is harmless."""
        self._move(-self._kept, -self._written)

    def _move(self, kept: int, written: int) -> None:
        self._all.move(self._shares, self._stored, kept=kept, written=written)
        self._kept += kept
        self._written += written
