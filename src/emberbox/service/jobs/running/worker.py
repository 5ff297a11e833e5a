"""A worker: takes jobs from the queue as long as it has room for more, and keeps their leases.

What dead workers held is taken back, and cancellations that were asked for elsewhere are heeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

from emberbox.errors import EmberboxError
from emberbox.net.backoff import Backoff
from emberbox.service.jobs.logs.writer import LogWriter
from emberbox.service.jobs.running.attempts import INTERRUPTED, Attempts
from emberbox.service.jobs.running.live import LiveJob, LiveJobs
from emberbox.service.jobs.running.pace import Pace
from emberbox.tasks import TaskKeeper, shielded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from emberbox.config import WorkerSettings
    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.accounts.reservations import Reservation
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.endings import Endings
    from emberbox.service.jobs.running.held import HeldEnds
    from emberbox.service.jobs.running.runner import Runner
    from emberbox.store.records import JobRecord

_log = logging.getLogger(__name__)

RETRY = Backoff(first_s=0.5, longest_s=5.0)
"""When something is tried again that failed for want of the database: well within a lease."""
FORGOTTEN_S = 600.0
"""A worker that said nothing for so long is no longer listed."""


class Worker:
    """Runs jobs, at most `concurrency` at once.

    Args:
        worker_id: New for each worker.
        queue: Where jobs come from.
        runner: Runs their programs.
        endings: Writes their ends, also of those that were interrupted too often, or wait and are cancelled.
        held: Keeps what cannot be written at once.
        live: Holds those that run.
        quotas: Kept fresh for the queue.
        room: Promises room for what a job leaves.
        settings: Lease, heartbeat, bounds.
        repeated: Called for each attempt that came to no end of its own, with `lost` or `interrupted`.
        concurrency: Jobs at once.
        scratch: Where large logs grow.
        node: Names the data folder that this worker has for itself: an earlier worker of the same
            node is dead.
    """

    def __init__(
        self,
        worker_id: str,
        queue: JobQueue,
        runner: Runner,
        endings: Endings,
        held: HeldEnds,
        live: LiveJobs,
        quotas: Quotas,
        room: Callable[[JobRecord], Reservation],
        settings: WorkerSettings,
        *,
        repeated: Callable[[str], None],
        concurrency: int,
        scratch: Path,
        node: str,
    ) -> None:
        self.id = worker_id
        self.concurrency = concurrency
        self._queue = queue
        self._pace = Pace()
        self._attempts = Attempts(runner, queue, endings, held, live, self._pace, settings, repeated=repeated)
        self._held = held
        self._endings = endings
        self._live = live
        self._quotas = quotas
        self._room = room
        self._settings = settings
        self._count = repeated
        self._scratch = scratch
        self._node = node
        self._running: dict[LiveJob, asyncio.Task[None]] = {}
        self._free = asyncio.Event()
        self._keeper, self._taking, self._beating = TaskKeeper(), TaskKeeper(), TaskKeeper()
        self._listed = False

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return len(self._running)

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take back what an earlier worker of this node left, and begin to take jobs."""
        workers = self._queue.workers
        dead = await workers.enter(self.id, node=self._node, concurrency=self.concurrency)
        self._listed = True
        await self.reclaim(dead)
        await self._heed_cancellations()
        await workers.leave(dead)
        taking = _lasting(self._take, "jobs could not be taken", "worker.claim_failed")
        beating = _lasting(self._beat, "a heartbeat failed", "worker.heartbeat_failed")
        self._taking.start(taking, "worker-take")
        self._beating.start(beating, "worker-heartbeat")

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more jobs, let those that run end, and hand back what has not ended in time.

        Repeating is harmless.

        Args:
            drain_s: Seconds to wait; None for the setting.
        """
        # A claim that is under way is carried out: its jobs are among those that run, from here on.
        await self._taking.cancel()
        bound_s = self._settings.drain_s if drain_s is None else drain_s
        if self._running:
            facts = {"action": "worker.draining"}
            _log.info("waiting up to %g s for %d jobs", bound_s, len(self._running), extra=facts)
            await asyncio.wait(self._running.values(), timeout=bound_s)
        self._held.give_up()
        await self._keeper.cancel()
        await self._beating.cancel()
        if self._listed:
            self._listed = False
            with contextlib.suppress(EmberboxError):
                await self._queue.workers.leave([self.id])

    # -- taking -----------------------------------------------------------------------------------

    async def _take(self) -> None:
        free = self.concurrency - len(self._running)
        if free <= 0:
            self._free.clear()
            await self._free.wait()
            return
        if not await self._held.none(self._settings.heartbeat_s):
            # What could not be written down is not begun.
            return
        if (pause_s := self._pace.pause_s) > 0:
            await asyncio.sleep(pause_s)
            return
        await self._quotas.refresh()
        # Once jobs are claimed they are this worker's to run, also when it is told to stop at this
        # very moment.
        claimed = await shielded(self._claim(free))
        if not claimed or (claimed < free and not self._quotas.bounds()):
            # The queue gave less than was asked for: there is no more.
            await self._queue.wait(self._settings.heartbeat_s)

    async def _claim(self, count: int) -> int:
        claimed = await self._queue.claim(self.id, count, self._settings.lease_s)
        for job in claimed:
            log = LogWriter(job.attempt, self._scratch / f"{job.id}-{job.attempt}.log")
            live = LiveJob(job, log, self._room(job))
            self._live.add(live)
            self._running[live] = self._keeper.start(self._run(live), f"job-{job.id}")
        return len(claimed)

    async def _run(self, live: LiveJob) -> None:
        try:
            await self._attempts.run(live)
        finally:
            del self._running[live]
            self._free.set()
            if self._quotas.bounds():
                # What was passed over because its key ran as much as it may can start now.
                await self._queue.put(())

    # -- keeping ----------------------------------------------------------------------------------

    async def _beat(self) -> None:
        await asyncio.sleep(self._settings.heartbeat_s)
        await self._renew()
        await self._heed_cancellations()
        await self.reclaim()

    async def _renew(self) -> None:
        """Renew the leases of jobs that run here; those that are not this worker's any more are given up."""
        wanted = {live.job.id for live in self._running}
        lost = wanted - set(await self._queue.renew(self.id, self._settings.lease_s, wanted))
        await self._queue.workers.seen(self.id, forget_s=FORGOTTEN_S)
        for live, task in self._running.items():
            if live.job.id in lost:
                _log.warning("a lease was lost", extra={"action": "job.lease_lost", "job": live.job.id})
                task.cancel()

    async def _heed_cancellations(self) -> None:
        """End jobs whose cancellation was asked for in another process, or while they were handed back."""
        requests = await self._queue.cancel_requests(self.id)
        await self._endings.end_all_queued(requests.queued)
        for job_id in requests.held:
            self._live.cancel(job_id)

    async def reclaim(self, dead: Collection[str] = ()) -> None:
        """Take back what silent workers held, and what those of `dead` held, which need not be waited for."""
        reclaimed = await self._queue.reclaim(
            interruptions=self._settings.interruptions, pause_s=INTERRUPTED.pause_s, workers=dead
        )
        for _ in range(len(reclaimed.requeued) + len(reclaimed.exhausted)):
            self._count("interrupted")
        if reclaimed.requeued:
            _log.warning(
                "%d jobs of lost workers wait again",
                len(reclaimed.requeued),
                extra={"action": "jobs.reclaimed", "jobs": reclaimed.requeued},
            )
        for job in reclaimed.exhausted:
            await self._endings.end_reclaimed(job)


async def _lasting(step: Callable[[], Awaitable[None]], complaint: str, action: str) -> NoReturn:
    """Do a step again and again. If its failure ended the loop, the service would be without a worker."""
    failures = 0
    while True:
        try:
            await step()
            failures = 0
        except Exception as error:
            failures += 1
            # What nobody expected is told with its place in the code.
            unexpected = not isinstance(error, EmberboxError)
            _log.warning("%s: %s", complaint, error, extra={"action": action}, exc_info=unexpected)
            await asyncio.sleep(RETRY.pause_s(failures))
