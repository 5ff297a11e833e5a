"""The places for requests that wait for a job's end: so many for each team, and so many for all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, QuotaExceeded
from emberbox.service.accounts.allotments import Allotment
from emberbox.service.accounts.quota import shares_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.config import Settings
    from emberbox.service.jobs.waiting import JobWaits
    from emberbox.store.records import KeyRecord


class Waiters:
    """Counts the requests that wait. One without a place is answered at once, as one whose time is up.

    Args:
        settings: For `quota.waits` and `ceiling.waits`.
        waits: Tells of jobs' ends.
    """

    def __init__(self, settings: Settings, waits: JobWaits) -> None:
        self.waits = waits
        self._quota = settings.quota
        self._open = Allotment(
            "waiting requests", quota="waits", ceiling=settings.ceiling.waits, setting="ceiling.waits"
        )

    @property
    def count(self) -> int:
        """How many requests wait."""
        return self._open.total

    @contextmanager
    def place(self, key: KeyRecord) -> Iterator[bool]:
        """Hold a place for a request of this key; yields whether there was one."""
        shares = shares_of(key, self._quota, self._open.quota)
        try:
            self._open.take(shares, 1)
        except (QuotaExceeded, CapacityExhausted):
            yield False
            return
        try:
            yield True
        finally:
            self._open.give(shares, 1)
