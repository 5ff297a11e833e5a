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
    Waiting,
    WorkerRecord,
    counter_of,
)
from emberbox.store.database import now_us
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from emberbox.service.accounts.quota import Share
    from emberbox.store.records import JobRecord


class MemoryQueue:
    """A `JobQueue` for tests. It holds the jobs themselves; connections to a database are passed over.

    Args:
        bounds: Called before each claim for the bounds of running jobs.
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
        last = {(team_id, precedence): self._last_turn(team_id, precedence) for team_id, precedence in wanted}

        def take(team_id: str, precedence: int) -> int:
            last[team_id, precedence] += 1
            return last[team_id, precedence]

        return take

    async def waiting(self, connection: object, share: Share | None) -> Waiting:
        """See `JobQueue`."""
        waiting = [
            job for job in self._in("queued") if share is None or getattr(job, share.column) == share.id
        ]
        return Waiting(len(waiting), sum(job.input_bytes for job in waiting))

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """See `JobQueue`."""
        for job in jobs:
            self.jobs.setdefault(job.id, job)
        self._news.set()

    def _last_turn(self, team_id: str, precedence: int) -> int:
        started = [job.fair_order for job in self._in("running") if job.precedence == precedence]
        queued = [job for job in self._in("queued") if job.precedence == precedence]
        waiting = [job.fair_order for job in queued]
        own = [job.fair_order for job in queued if job.team_id == team_id]
        return max(max(started) if started else min(waiting, default=1) - 1, max(own, default=0))

    def _in(self, status: str) -> list[JobRecord]:
        return [job for job in self.jobs.values() if job.status == status]

    async def claim(self, worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        """See `JobQueue`."""
        self._news.clear()
        now = now_us()
        claimed: list[JobRecord] = []
        while len(claimed) < count and (found := self._next(now)) is not None:
            job, holder = found
            taken = replace(
                job,
                status="running",
                worker_id=worker_id,
                attempt=job.attempt + 1,
                claimed_at=now,
                lease_until_at=now + int(lease_s * 1e6),
                fair_order=holder.fair_order,
            )
            self.jobs[holder.id] = replace(holder, fair_order=job.fair_order)
            self.jobs[job.id] = taken
            claimed.append(taken)
        return claimed

    def _next(self, now: int) -> tuple[JobRecord, JobRecord] | None:
        """Return the job that is next, and the one of its team with the turn that it takes."""
        teams, keys = self._bounds().full(self._in("running"))
        queued = self._in("queued")
        free = [
            job
            for job in queued
            if job.available_at <= now
            and job.cancel_at is None
            and job.team_id not in teams
            and job.key_id not in keys
        ]
        firsts: dict[str, JobRecord] = {}
        for job in sorted(free, key=lambda job: (-job.precedence, -job.priority, job.id)):
            firsts.setdefault(job.team_id, job)
        found = [
            (
                job,
                min(
                    (one for one in queued if (one.team_id, one.precedence) == (job.team_id, job.precedence)),
                    key=lambda one: one.fair_order,
                ),
            )
            for job in firsts.values()
        ]
        order = lambda pair: (-pair[0].precedence, pair[1].fair_order, pair[0].id)  # noqa: E731
        return min(found, key=order, default=None)

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

    async def request_cancel_of(self, connection: object, key_id: str, *, running: bool) -> CancelRequests:
        """See `JobQueue`."""
        asked: dict[str, list[str]] = {"queued": [], "running": []}
        for status in ("queued", "running") if running else ("queued",):
            for job in self._in(status):
                if job.key_id == key_id:
                    self.jobs[job.id] = replace(job, cancel_at=job.cancel_at or now_us())
                    asked[status].append(job.id)
        return CancelRequests(queued=tuple(asked["queued"]), held=tuple(asked["running"]))

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
