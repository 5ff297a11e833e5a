"""How much waits, as far as this process knows: of each team, and of all together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store.records import JobRecord, KeyRecord

RECOUNT_S = 1.0
"""What waits is counted again after this long: it runs, and another process may take some in."""
_ALL = None
_FULL_S = 0.2
"""How soon all that waits is counted again where there seems to be no room: that takes a while."""


@dataclass(slots=True)
class _Standing:
    """Jobs that wait and their bytes, at most, and when they were counted."""

    counted: float
    jobs: int
    bytes: int


class Line:
    """Says whether one more job may wait.

    Args:
        queue: Counts what waits.
        quotas: How much may.
    """

    def __init__(self, queue: JobQueue, quotas: Quotas) -> None:
        self._queue = queue
        self._quotas = quotas
        self._known: dict[str | None, _Standing] = {}

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
            QuotaExceeded: The team has as many jobs or bytes waiting as it may.
            CapacityExhausted: All teams together have.
        """
        jobs, most = self._quotas.of(key, "queued_jobs"), self._quotas.of(key, "queued_bytes")
        if jobs or most:
            own = await self._standing(connection, key.team_id, jobs, most, size, made)
            if what := _full(own, jobs, most, size):
                raise QuotaExceeded(
                    f"{what} of your team wait already, as many as may (queued_jobs, queued_bytes): "
                    "wait until some have run"
                )
        ceiling = self._quotas.ceiling
        if ceiling.queued_jobs or ceiling.queued_bytes:
            limits = (ceiling.queued_jobs, ceiling.queued_bytes)
            everybody = await self._standing(connection, _ALL, *limits, size, made)
            if what := _full(everybody, *limits, size):
                raise CapacityExhausted(
                    f"{what} of all teams wait already, as many as may: try again later; "
                    "the operator may raise ceiling.queued_jobs or ceiling.queued_bytes"
                )

    def add(self, key: KeyRecord, size: int) -> None:
        """Count a job that waits from now on."""
        for owner in (key.team_id, _ALL):
            if (standing := self._known.get(owner)) is not None:
                standing.jobs += 1
                standing.bytes += size

    async def _standing(
        self,
        connection: AsyncConnection,
        owner: str | None,
        jobs: float,
        most: float,
        size: int,
        made: Collection[JobRecord],
    ) -> _Standing:
        known = self._known.get(owner)
        age_s = float("inf") if known is None else time.monotonic() - known.counted
        if (
            known is None
            or age_s > RECOUNT_S
            or (_full(known, jobs, most, size) and (owner is not _ALL or age_s > _FULL_S))
        ):
            waiting = await self._queue.waiting(connection, owner)
            mine = [job for job in made if owner in (_ALL, job.team_id)]
            known = self._known[owner] = _Standing(
                time.monotonic(),
                waiting.jobs + len(mine),
                waiting.bytes + sum(job.input_bytes for job in mine),
            )
        return known


def _full(standing: _Standing, jobs: float, most: float, size: int) -> str:
    """Return what is too much with one more job of `size` bytes; empty where nothing is."""
    if jobs and standing.jobs >= jobs:
        return f"{standing.jobs} jobs"
    if most and standing.bytes + size > most:
        return f"jobs with {standing.bytes} bytes"
    return ""
