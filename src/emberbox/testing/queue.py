"""A queue in memory, with every behaviour of the real one but survival."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.jobs.queue.base import Bounds, QueueDepth, Reclaimed
from emberbox.store.database import now_us

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from emberbox.store.records import JobRecord


class MemoryQueue:
    """A `JobQueue` for tests. Jobs get their place in the order, `fair_order`, when they are put.

    Args:
        bounds: Called before each claim for the keys' bounds of running jobs.
    """

    def __init__(self, bounds: Callable[[], Bounds] = Bounds) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self._bounds = bounds
        self._news = asyncio.Event()

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """See `JobQueue`."""
        for job in jobs:
            if job.id not in self.jobs:
                self.jobs[job.id] = replace(job, fair_order=self._place(job.key_id, job.priority))
        self._news.set()

    def _place(self, key_id: str, priority: int) -> int:
        started = [job.fair_order for job in self._in("running") if job.priority == priority]
        queued = [job for job in self._in("queued") if job.priority == priority]
        waiting = [job.fair_order for job in queued]
        own = [job.fair_order for job in queued if job.key_id == key_id]
        return max(max(started) if started else min(waiting, default=1) - 1, max(own, default=0)) + 1

    def _in(self, status: str) -> list[JobRecord]:
        return [job for job in self.jobs.values() if job.status == status]

    async def claim(self, worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        """See `JobQueue`."""
        self._news.clear()
        now = now_us()
        claimed: list[JobRecord] = []
        waiting = [job for job in self._in("queued") if job.available_at <= now and job.cancel_at is None]
        for job in sorted(waiting, key=lambda job: (-job.priority, job.fair_order, job.id)):
            bound = self._bounds()(job.key_id)
            if len(claimed) < count and not (bound and sum(other.key_id == job.key_id for other in self._in("running")) >= bound):
                taken = replace(
                    job, status="running", worker_id=worker_id, attempt=job.attempt + 1, claimed_at=now,
                    lease_until_at=now + int(lease_s * 1e6),
                )  # fmt: skip
                self.jobs[job.id] = taken
                claimed.append(taken)
        return claimed

    async def wait(self, timeout_s: float) -> None:
        """See `JobQueue`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()

    async def renew(self, worker_id: str, lease_s: float, job_ids: Collection[str]) -> Collection[str]:
        """See `JobQueue`."""
        held = [job for job in self._in("running") if job.worker_id == worker_id and job.id in job_ids]
        for job in held:
            self.jobs[job.id] = replace(job, lease_until_at=now_us() + int(lease_s * 1e6))
        return {job.id for job in held}

    async def give_back(self, job: JobRecord, *, delay_s: float, outcome: str, message: str | None) -> bool:
        """See `JobQueue`."""
        now = self.jobs.get(job.id)
        if now is None or (now.status, now.worker_id, now.attempt) != ("running", job.worker_id, job.attempt):
            return False
        self._requeue(now, delay_s, outcome)
        return True

    def _requeue(self, job: JobRecord, delay_s: float, outcome: str) -> None:
        self.jobs[job.id] = replace(
            job, status="queued", worker_id=None, lease_until_at=None, available_at=now_us() + int(delay_s * 1e6),
            losses=job.losses + (outcome == "lost"), failures=job.failures + (outcome not in ("lost", "given_back")),
        )  # fmt: skip
        self._news.set()

    async def reclaim(self, *, losses: int, workers: Collection[str] = ()) -> Reclaimed:
        """See `JobQueue`."""
        now = now_us()
        stale = [job for job in self._in("running") if (job.lease_until_at or 0) < now or job.worker_id in workers]
        for job in stale:
            if job.losses < losses:
                self._requeue(job, 0.0, "lost")
            else:
                self.jobs[job.id] = replace(job, losses=job.losses + 1, worker_id="nobody")
        return Reclaimed(
            requeued=tuple(job.id for job in stale if job.losses < losses),
            exhausted=tuple(self.jobs[job.id] for job in stale if job.losses >= losses),
        )

    async def depth(self) -> QueueDepth:
        """See `JobQueue`."""
        now = now_us()
        ages = [now - job.created_at for job in self._in("queued") if job.available_at <= now]
        return QueueDepth(queued=len(self._in("queued")), running=len(self._in("running")), oldest_s=max(ages, default=0) / 1e6)
