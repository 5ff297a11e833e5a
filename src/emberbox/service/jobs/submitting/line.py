"""How much waits, as far as this process knows: of each team and key, and of all together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Quotas, Share
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store.records import JobRecord, KeyRecord

RECOUNT_S = 1.0
"""What waits is counted again after this long: it runs, and another process may take some in."""
FULL_S = 0.2
"""How soon all that waits is counted again where there seems to be no room: that takes a while."""
_ALL = ""


@dataclass(slots=True)
class _Standing:
    """Jobs that wait and their bytes, at most, and when they were counted."""

    counted: float
    jobs: int
    bytes: int

    def over(self, name: str, bound: float, size: int) -> bool:
        """Return whether one more job of `size` bytes is too much for a bound of that name."""
        return self.jobs + 1 > bound if name == "queued_jobs" else self.bytes + size > bound


class Line:
    """Says whether one more job may wait.

    Args:
        queue: Counts what waits.
        quotas: How much may.
    """

    def __init__(self, queue: JobQueue, quotas: Quotas) -> None:
        self._queue = queue
        self._quotas = quotas
        self._known: dict[str, _Standing] = {}

    async def check(
        self, connection: AsyncConnection, key: KeyRecord, size: int, made: Collection[JobRecord]
    ) -> None:
        """Check whether a job may wait.

        Args:
            connection: Counts, where what is known does not do.
            key: Whose job it is.
            size: What it waits with, in bytes.
            made: Jobs of the same transaction, which the queue does not count yet.

        Raises:
            QuotaExceeded: The team or the key has as many jobs or bytes waiting as it may.
            CapacityExhausted: All teams together have.
        """
        for name in ("queued_jobs", "queued_bytes"):
            for share in self._quotas.shares(key, name):
                known = await self._standing(connection, share, made, (name, share.bound, size))
                if known.over(name, share.bound, size):
                    raise QuotaExceeded(
                        f"{known.jobs} jobs of this {share.whose} wait already, with {known.bytes} bytes, as "
                        f"many as may ({name}: {share.bound:.0f}); wait until some of them have run"
                    )
            if bound := getattr(self._quotas.ceiling, name):
                known = await self._standing(connection, None, made, (name, bound, size))
                if known.over(name, bound, size):
                    raise CapacityExhausted(
                        f"{known.jobs} jobs of all teams wait already, with {known.bytes} bytes, as many as "
                        f"may; try again later. The operator may raise ceiling.{name}"
                    )

    def add(self, job: JobRecord) -> None:
        """Count a job that waits from now on."""
        for owner in (job.team_id, job.key_id, _ALL):
            if (standing := self._known.get(owner)) is not None:
                standing.jobs += 1
                standing.bytes += job.input_bytes

    async def _standing(
        self,
        connection: AsyncConnection,
        share: Share | None,
        made: Collection[JobRecord],
        wanted: tuple[str, float, int],
    ) -> _Standing:
        """Return what waits of a share, or of all: counted anew where it is old, or seems to be too much."""
        owner = _ALL if share is None else share.id
        if (known := self._known.get(owner)) is not None:
            age_s = time.monotonic() - known.counted
            good_s = (FULL_S if share is None else 0.0) if known.over(*wanted) else RECOUNT_S
            if age_s <= good_s:
                return known
        waiting = await self._queue.waiting(connection, share)
        mine = [job for job in made if share is None or getattr(job, share.column) == share.id]
        self._known[owner] = _Standing(
            time.monotonic(),
            waiting.jobs + len(mine),
            waiting.bytes + sum(job.input_bytes for job in mine),
        )
        return self._known[owner]
