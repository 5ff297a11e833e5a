"""A queue in memory, with every behaviour of the real one but survival."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emberbox.service.accounts.quota import Bounds
from emberbox.service.jobs.queue.base import (
    CancelRequests,
    Places,
    QueueDepth,
    Reclaimed,
    WorkerRecord,
    counter_of,
)
from emberbox.store.database import now_us
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from emberbox.store.records import JobRecord


class MemoryQueue:
    """A `JobQueue` for tests. It holds the jobs themselves; connections to a database are passed over.

    Args:
        bounds: Called before each claim for the keys' bounds of running jobs.
    """

    def __init__(self, bounds: Callable[[], Bounds] = Bounds) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self._bounds = bounds
        self._news = asyncio.Event()
        self._workers = MemoryWorkers(self)

    @property
    def workers(self) -> MemoryWorkers:
        """See `JobQueue`."""
        return self._workers

    async def places(self, connection: object, wanted: Collection[tuple[str, int]]) -> Places:
        """See `JobQueue`."""
        last = {(key_id, priority): self._last_place(key_id, priority) for key_id, priority in wanted}

        def take(key_id: str, priority: int) -> int:
            last[key_id, priority] += 1
            return last[key_id, priority]

        return take

    async def waiting(self, connection: object, key_id: str) -> int:
        """See `JobQueue`."""
        return sum(job.key_id == key_id for job in self._in("queued"))

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """See `JobQueue`."""
        for job in jobs:
            self.jobs.setdefault(job.id, job)
        self._news.set()

    def _last_place(self, key_id: str, priority: int) -> int:
        started = [job.fair_order for job in self._in("running") if job.priority == priority]
        queued = [job for job in self._in("queued") if job.priority == priority]
        waiting = [job.fair_order for job in queued]
        own = [job.fair_order for job in queued if job.key_id == key_id]
        return max(max(started) if started else min(waiting, default=1) - 1, max(own, default=0))

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
            if len(claimed) < count and not (
                bound and sum(other.key_id == job.key_id for other in self._in("running")) >= bound
            ):
                taken = replace(
                    job,
                    status="running",
                    worker_id=worker_id,
                    attempt=job.attempt + 1,
                    claimed_at=now,
                    lease_until_at=now + int(lease_s * 1e6),
                )
                self.jobs[job.id] = taken
                claimed.append(taken)
        return claimed

    async def wait(self, timeout_s: float) -> None:
        """See `JobQueue`."""
        await set_within(self._news, timeout_s)

    async def renew(self, worker_id: str, lease_s: float, job_ids: Collection[str]) -> Collection[str]:
        """See `JobQueue`."""
        held = [job for job in self._in("running") if job.worker_id == worker_id and job.id in job_ids]
        for job in held:
            self.jobs[job.id] = replace(job, lease_until_at=now_us() + int(lease_s * 1e6))
        return {job.id for job in held}

    async def give_back(self, job: JobRecord, *, delay_s: float, outcome: str, message: str | None) -> bool:
        """See `JobQueue`."""
        if (now := self._held(job)) is not None:
            self._requeue(now, delay_s, outcome)
        return now is not None

    def _held(self, job: JobRecord) -> JobRecord | None:
        """Return the job as it is now, if the worker that claimed it still holds that very attempt."""
        now = self.jobs.get(job.id)
        held = now and (now.status, now.worker_id, now.attempt) == ("running", job.worker_id, job.attempt)
        return now if held else None

    def _requeue(self, job: JobRecord, delay_s: float, outcome: str) -> None:
        counter = counter_of(outcome)
        counted = {} if counter is None else {counter: getattr(job, counter) + 1}
        self.jobs[job.id] = replace(
            job,
            status="queued",
            worker_id=None,
            lease_until_at=None,
            available_at=now_us() + int(delay_s * 1e6),
            **counted,
        )
        self._news.set()

    async def reclaim(
        self, *, interruptions: int, pause_s: Callable[[int], float], workers: Collection[str] = ()
    ) -> Reclaimed:
        """See `JobQueue`."""
        now = now_us()
        stale = [
            job for job in self._in("running") if (job.lease_until_at or 0) < now or job.worker_id in workers
        ]
        again = [job for job in stale if job.interruptions < interruptions]
        too_often = [job for job in stale if job.interruptions >= interruptions]
        for job in again:
            self._requeue(job, pause_s(job.interruptions + 1), "interrupted")
        for job in too_often:
            self.jobs[job.id] = replace(job, interruptions=job.interruptions + 1, worker_id="nobody")
        return Reclaimed(
            requeued=tuple(job.id for job in again),
            exhausted=tuple(self.jobs[job.id] for job in too_often),
        )

    async def end_held(self, connection: object, job: JobRecord, end: Mapping[str, Any]) -> bool:
        """See `JobQueue`."""
        if (now := self._held(job)) is not None:
            self.jobs[job.id] = replace(now, **end, lease_until_at=None)
        return now is not None

    async def end_queued(self, connection: object, job_id: str, end: Mapping[str, Any]) -> JobRecord | None:
        """See `JobQueue`."""
        job = self.jobs.get(job_id)
        if job is None or job.status != "queued":
            return None
        self.jobs[job_id] = replace(job, **end, lease_until_at=None)
        return self.jobs[job_id]

    async def request_cancel(self, job_id: str) -> JobRecord | None:
        """See `JobQueue`."""
        job = self.jobs.get(job_id)
        if job is not None and not job.terminal and job.cancel_at is None:
            self.jobs[job_id] = replace(job, cancel_at=now_us())
        return self.jobs.get(job_id)

    async def cancel_requests(self, worker_id: str) -> CancelRequests:
        """See `JobQueue`."""
        queued = (job.id for job in self._in("queued") if job.cancel_at is not None)
        running = (job for job in self._in("running") if job.cancel_at is not None)
        return CancelRequests(
            queued=tuple(queued), held=tuple(job.id for job in running if job.worker_id == worker_id)
        )

    async def depth(self) -> QueueDepth:
        """See `JobQueue`."""
        active = [*self._in("queued"), *self._in("running")]
        since = min((job.available_at for job in self._in("queued")), default=None)
        return QueueDepth(
            counts=Counter((job.status, job.runtime) for job in active),
            oldest_s=0.0 if since is None else max(0.0, (now_us() - since) / 1e6),
        )


class MemoryWorkers:
    """A `WorkerList` for tests.

    Args:
        queue: Whose workers they are.
    """

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue
        self._listed: dict[str, WorkerRecord] = {}

    async def enter(self, worker_id: str, *, node: str, concurrency: int) -> list[str]:
        """See `WorkerList`."""
        dead = [worker.id for worker in self._listed.values() if worker.node == node]
        now = now_us()
        self._listed[worker_id] = WorkerRecord(
            id=worker_id, node=node, concurrency=concurrency, started_at=now, seen_at=now
        )
        return dead

    async def seen(self, worker_id: str, *, forget_s: float) -> None:
        """See `WorkerList`."""
        now = now_us()
        if worker_id in self._listed:
            self._listed[worker_id] = replace(self._listed[worker_id], seen_at=now)
        await self.leave([one.id for one in self._listed.values() if one.seen_at < now - forget_s * 1e6])

    async def leave(self, worker_ids: Collection[str]) -> None:
        """See `WorkerList`."""
        for worker_id in worker_ids:
            self._listed.pop(worker_id, None)

    async def count(self, within_s: float) -> int:
        """See `WorkerList`."""
        return len(await self.living(within_s))

    async def living(self, within_s: float) -> list[WorkerRecord]:
        """See `WorkerList`."""
        after = now_us() - within_s * 1e6
        held = Counter(job.worker_id for job in self._queue.jobs.values() if job.status == "running")
        workers = sorted(self._listed.values(), key=lambda worker: worker.id)
        return [replace(one, running=held[one.id]) for one in workers if one.seen_at >= after]
