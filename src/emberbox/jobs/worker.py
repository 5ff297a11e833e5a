"""A worker: takes jobs from the queue, runs them on its engine, and writes what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, NoReturn

from sqlalchemy import delete, insert, select, update

from emberbox.errors import BlobError, CapacityExhausted, EmberboxError, NoSpace, StoreError
from emberbox.ids import new_id
from emberbox.jobs.finish import Finished, Outcome, finish
from emberbox.jobs.jobs import output_of
from emberbox.jobs.live import LiveJob, LiveJobs
from emberbox.jobs.log_writer import LogWriter
from emberbox.store.database import now_us
from emberbox.store.tables import jobs, workers
from emberbox.tasks import TaskKeeper, shielded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.config import WorkerSettings
    from emberbox.jobs.jobs import Jobs
    from emberbox.jobs.queue import JobQueue
    from emberbox.jobs.quota import Quotas
    from emberbox.jobs.runner import Runner
    from emberbox.store import Database
    from emberbox.store.records import JobRecord

_log = logging.getLogger(__name__)

RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Pauses before an attempt is repeated."""
WRITE_RETRY_S = 0.5
FORGOTTEN_S = 600.0
"""A worker that said nothing for so long is no longer listed."""


class Worker:
    """Runs jobs, at most `concurrency` at once.

    Args:
        db: Where their ends are written.
        queue: Where they come from.
        runner: Runs an attempt.
        jobs: Is told of those that ended.
        live: Holds those that run.
        quotas: Kept fresh for the queue.
        settings: Lease, heartbeat, losses, bounds.
        concurrency: Jobs at once.
        scratch: Where large logs grow.
        node: Names the data folder that this worker has for itself: an earlier worker of the same node is dead.
        ended: Called with each job that ended.
        lost: Called for each attempt that was lost with its VM or its worker.
    """

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        runner: Runner,
        jobs: Jobs,
        live: LiveJobs,
        quotas: Quotas,
        settings: WorkerSettings,
        *,
        concurrency: int,
        scratch: Path,
        node: str,
        ended: Callable[[Finished], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        self.id = new_id("worker")
        self.concurrency = concurrency
        self._db = db
        self._queue = queue
        self._runner = runner
        self._jobs = jobs
        self._live = live
        self._quotas = quotas
        self._settings = settings
        self._scratch = scratch
        self._node = node
        self._ended = ended
        self._count_loss = lost or (lambda: None)
        self._keeper = TaskKeeper()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._free = asyncio.Event()
        self._draining = False
        self._loops: list[asyncio.Task[NoReturn]] = []

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return len(self._running)

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take back what an earlier worker of this node left, and begin to take jobs."""
        dead = await self._register()
        await self._reclaim(dead)
        await self._heed_cancellations()
        async with self._db.writing() as connection:
            await connection.execute(delete(workers).where(workers.c.id.in_(dead)))
        self._loops = [
            asyncio.create_task(self._take(), name="worker-take"),
            asyncio.create_task(self._beat(), name="worker-heartbeat"),
        ]

    async def _register(self) -> list[str]:
        now = now_us()
        row = {"id": self.id, "node": self._node, "concurrency": self.concurrency, "started_at": now, "seen_at": now}
        async with self._db.writing() as connection:
            dead = list((await connection.execute(select(workers.c.id).where(workers.c.node == self._node))).scalars())
            await connection.execute(insert(workers).values(row))
        return dead

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more jobs, let those that run end, and hand back what has not ended in time. Repeating is harmless.

        Args:
            drain_s: Seconds to wait; None for the setting.
        """
        self._draining = True
        for loop in self._loops[:1]:
            loop.cancel()
            # A claim that is under way is carried out: its jobs are among those that run, from here on.
            await asyncio.wait({loop})
        bound = self._settings.drain_s if drain_s is None else drain_s
        if self._running:
            _log.info("waiting up to %g s for %d jobs", bound, len(self._running), extra={"action": "worker.draining"})
            await asyncio.wait(self._running.values(), timeout=bound)
        for task in list(self._running.values()):
            task.cancel()
        await self._keeper.settle()
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops)
            with contextlib.suppress(EmberboxError):
                async with self._db.writing() as connection:
                    await connection.execute(delete(workers).where(workers.c.id == self.id))
        self._loops = []

    # -- taking ----------------------------------------------------------------------------------------------

    async def _take(self) -> NoReturn:
        while True:
            try:
                await self._take_some()
            except Exception as error:
                _warn("jobs could not be taken", error, "worker.claim_failed")
                await asyncio.sleep(WRITE_RETRY_S)

    async def _take_some(self) -> None:
        free = self.concurrency - len(self._running)
        if free <= 0:
            self._free.clear()
            await self._free.wait()
            return
        await self._quotas.refresh()
        # Once jobs are claimed they are this worker's to run, also when it is told to stop at this very moment.
        claimed = await shielded(self._claim(free))
        if not claimed or (claimed < free and not self._quotas.bounds()):
            # The queue gave less than was asked for: there is no more.
            await self._queue.wait(self._settings.heartbeat_s)

    async def _claim(self, count: int) -> int:
        claimed = await self._queue.claim(self.id, count, self._settings.lease_s)
        for job in claimed:
            live = LiveJob(job, LogWriter(job.attempt, self._scratch / f"{job.id}-{job.attempt}.log"))
            self._live.add(live)
            self._running[job.id] = self._keeper.start(self._attempt(live), f"job-{job.id}")
        return len(claimed)

    # -- one attempt -----------------------------------------------------------------------------------------

    async def _attempt(self, live: LiveJob) -> None:
        job = live.job
        try:
            try:
                outcome = await self._runner.run(live)
            except asyncio.CancelledError:
                await shielded(self._hand_back(live, "the service stopped before it ended"))
                return
            except EmberboxError as error:
                await shielded(self._failed(live, error))
                return
            except Exception as error:
                _log.exception("a job broke its worker", extra={"action": "job.broke", "job": job.id})
                await shielded(self._lost(live, f"its worker failed: {type(error).__name__}"))
                return
            await shielded(self._end(live, outcome))
        finally:
            self._runner.let_go(live)
            self._live.remove(live)
            live.log.discard()
            self._running.pop(job.id, None)
            self._free.set()
            if self._quotas.bounds():
                # What was passed over because its key ran as much as it may can start now.
                await self._queue.put(())

    async def _end(self, live: LiveJob, outcome: Outcome) -> None:
        """Write what became of the attempt: the job's end, or its wait for the next attempt."""
        job = live.job
        repeat = outcome.status in ("failed", "timed_out") and job.failures < job.spec.retries
        if repeat and outcome.reason not in ("refused", "input_failed"):
            pause = RETRY_S[min(job.failures, len(RETRY_S) - 1)]
            await self._give_back(live, pause, outcome.status, outcome.message)
            await self._runner.discard(outcome)
            return
        await self._write(live, outcome)

    async def _failed(self, live: LiveJob, error: EmberboxError) -> None:
        """Repeat an attempt that failed by no fault of its program, or write the job off."""
        job = live.job
        _log.warning(
            "an attempt failed: %s",
            error,
            extra={"action": "job.attempt_failed", "job": job.id, "code": error.code, "detail": error.detail},
        )
        if isinstance(error, CapacityExhausted) and not live.cancelled.is_set():
            # The host is busy, and the job never began: it may wait as long as it takes.
            await self._give_back(live, RETRY_S[0], "given_back", error.message)
        elif isinstance(error, BlobError | StoreError) and not live.cancelled.is_set():
            # What keeps the service's bytes or rows is out of order: the job waits until that is mended.
            await self._give_back(live, RETRY_S[-1], "given_back", error.message)
        else:
            await self._lost(live, error.message)

    async def _lost(self, live: LiveJob, message: str) -> None:
        job = live.job
        if live.cancelled.is_set():
            await self._write(live, Outcome(status="cancelled", reason="cancelled", message="cancelled by its caller"))
            return
        self._count_loss()
        if job.losses < self._settings.losses:
            await self._give_back(live, RETRY_S[min(job.losses, len(RETRY_S) - 1)], "lost", message)
        else:
            await self._write(live, _written_off(job, job.losses + 1, message))

    async def _hand_back(self, live: LiveJob, message: str) -> None:
        if live.cancelled.is_set():
            await self._lost(live, message)
        else:
            await self._give_back(live, 0.0, "given_back", message)

    async def _give_back(self, live: LiveJob, delay_s: float, outcome: str, message: str | None) -> None:
        job = live.job

        async def write() -> None:
            if not await self._queue.give_back(job, delay_s=delay_s, outcome=outcome, message=message):
                _log.warning("a job was taken from this worker", extra={"action": "job.taken", "job": job.id})

        self._live.remove(live)
        await self._insist(job, write)

    async def _write(self, live: LiveJob, outcome: Outcome) -> None:
        job = live.job

        async def write() -> None:
            finished = await finish(self._db, job, outcome)
            if finished is None:
                _log.warning("a job was taken from this worker", extra={"action": "job.taken", "job": job.id})
                return
            heads = live.log.heads
            done = finished.job
            self._live.remove(live)
            self._jobs.ended(done, output_of(done, bytes(heads["stdout"]), bytes(heads["stderr"]), outcome.compile))
            self._tell(finished)

        await self._insist(job, write)

    async def _insist(self, job: JobRecord, write: Callable[[], object]) -> None:
        """Repeat a write until it succeeds, or the lease is over and the job is somebody else's."""
        deadline = time.monotonic() + self._settings.lease_s
        while True:
            try:
                await write()  # type: ignore[misc]
            except (StoreError, NoSpace) as error:
                _log.warning("a job's end could not be written: %s", error, extra={"action": "job.write_failed", "job": job.id})
                if time.monotonic() > deadline:
                    return
                await asyncio.sleep(WRITE_RETRY_S)
            else:
                return

    def _tell(self, finished: Finished) -> None:
        job = finished.job
        extra = {"action": "job.ended", "job": job.id, "status": job.status, "reason": job.reason, "attempt": job.attempt}
        _log.info("job %s: %s", job.id, job.status, extra=extra)
        self._ended(finished)

    # -- leases ----------------------------------------------------------------------------------------------

    async def _beat(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            try:
                await self._renew()
                await self._reclaim([])
            except Exception as error:
                _warn("a heartbeat failed", error, "worker.heartbeat_failed")

    async def _renew(self) -> None:
        before = set(self._running)
        held = await self._queue.renew(self.id, self._settings.lease_s, before)
        for job_id in before - set(held):
            if (live := self._live.get(job_id)) and live.job.worker_id == self.id and (task := self._running.get(job_id)):
                _log.warning("a lease was lost", extra={"action": "job.lease_lost", "job": job_id})
                task.cancel()
        now = now_us()
        async with self._db.writing() as connection:
            await connection.execute(update(workers).where(workers.c.id == self.id).values(seen_at=now))
            await connection.execute(delete(workers).where(workers.c.seen_at < now - int(FORGOTTEN_S * 1e6)))
        await self._heed_cancellations()

    async def _heed_cancellations(self) -> None:
        """End jobs whose cancellation was asked for in another process, or while they were handed back."""
        active = jobs.c.status.in_(("queued", "running")) & jobs.c.cancel_at.is_not(None)
        async with self._db.reading() as connection:
            rows = (await connection.execute(select(jobs.c.id, jobs.c.status, jobs.c.worker_id).where(active))).all()
        for job_id, status, worker_id in rows:
            if status == "queued":
                await self._jobs.end_queued(job_id)
            elif worker_id == self.id:
                self._live.cancel(job_id)

    async def _reclaim(self, dead: list[str]) -> None:
        reclaimed = await self._queue.reclaim(losses=self._settings.losses, workers=dead)
        for _ in range(len(reclaimed.requeued) + len(reclaimed.exhausted)):
            self._count_loss()
        if reclaimed.requeued:
            count = len(reclaimed.requeued)
            _log.warning(
                "%d jobs of lost workers wait again", count, extra={"action": "jobs.reclaimed", "jobs": reclaimed.requeued}
            )
        for job in reclaimed.exhausted:
            finished = await finish(self._db, job, _written_off(job, job.losses, "its worker stopped without a word"))
            if finished is not None:
                self._jobs.ended(finished.job, output_of(finished.job, b"", b""))
                self._tell(finished)


def _warn(what: str, error: Exception, action: str) -> None:
    # A loop that ended would leave the service without a worker; what nobody expected is told with its place in the code.
    _log.warning("%s: %s", what, error, extra={"action": action}, exc_info=not isinstance(error, EmberboxError))


def _written_off(job: JobRecord, losses: int, message: str) -> Outcome:
    if job.cancel_at is not None:
        return Outcome(status="cancelled", reason="cancelled", message="cancelled by its caller")
    return Outcome(status="lost", reason="worker_lost", message=f"lost {losses} times; the last time: {message}")
