"""One claimed job: it is run, and then ended, repeated or given back."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from emberbox.errors import BlobError, CapacityExhausted, EmberboxError, NoSpace, StoreError
from emberbox.net.backoff import Backoff
from emberbox.service.jobs.running.endings import Endings, Outcome, cancelled, warn_taken, written_off
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import WorkerSettings
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.live import LiveJob, LiveJobs
    from emberbox.service.jobs.running.runner import Runner
    from emberbox.store.records import JobRecord

_log = logging.getLogger(__name__)

AGAIN = Backoff(first_s=1.0, longest_s=60.0)
"""When an attempt is repeated."""
WRITE_RETRY_S = 0.5


class Attempts:
    """Runs claimed jobs, and sees that each is ended or waits again.

    Args:
        runner: Runs an attempt.
        queue: Takes back what is to be repeated.
        endings: Writes the ends.
        live: Those that run here.
        settings: Lease and losses.
        lost: Called for each attempt that was lost with its VM or its worker.
    """

    def __init__(
        self,
        runner: Runner,
        queue: JobQueue,
        endings: Endings,
        live: LiveJobs,
        settings: WorkerSettings,
        *,
        lost: Callable[[], None],
    ) -> None:
        self._runner = runner
        self._queue = queue
        self._endings = endings
        self._live = live
        self._settings = settings
        self._count_loss = lost

    async def run(self, live: LiveJob) -> None:
        """Run one attempt and write what became of it. An attempt that is cancelled is handed back."""
        try:
            await self._run(live)
        finally:
            self._runner.release(live)
            self._live.remove(live)
            live.log.discard()

    async def _run(self, live: LiveJob) -> None:
        try:
            outcome = await self._runner.run(live)
        except asyncio.CancelledError:
            await shielded(self._again(live, 0.0, "the service stopped before it ended"))
        except EmberboxError as error:
            await shielded(self._failed(live, error))
        except Exception as error:
            _log.exception("a job broke its worker", extra={"action": "job.broke", "job": live.job.id})
            await shielded(self._lost(live, f"its worker failed: {type(error).__name__}"))
        else:
            await shielded(self._end(live, outcome))

    async def _end(self, live: LiveJob, outcome: Outcome) -> None:
        """Write what became of the attempt: the job's end, or its wait for the next attempt."""
        job = live.job
        repeat = outcome.status in ("failed", "timed_out") and job.failures < job.spec.retries
        if repeat and outcome.reason not in ("refused", "input_failed"):
            await self._give_back(live, AGAIN.pause_s(job.failures + 1), outcome.status, outcome.message)
            await self._runner.discard(outcome)
        else:
            await self._write(live, outcome)

    async def _failed(self, live: LiveJob, error: EmberboxError) -> None:
        """Repeat an attempt that failed by no fault of its program, or write the job off."""
        facts = {"job": live.job.id, "code": error.code, "detail": error.detail}
        _log.warning("an attempt failed: %s", error, extra={"action": "job.attempt_failed", **facts})
        if isinstance(error, CapacityExhausted):
            # The host is busy, and the job never began: it may wait as long as it takes.
            await self._again(live, AGAIN.first_s, error.message)
        elif isinstance(error, BlobError | StoreError):
            # What keeps the service's bytes or rows is out of order: the job waits until that is mended.
            await self._again(live, AGAIN.longest_s, error.message)
        else:
            await self._lost(live, error.message)

    async def _lost(self, live: LiveJob, message: str) -> None:
        job = live.job
        if live.cancelled.is_set():
            await self._write(live, cancelled())
            return
        self._count_loss()
        if job.losses < self._settings.losses:
            await self._give_back(live, AGAIN.pause_s(job.losses + 1), "lost", message)
        else:
            await self._write(live, written_off(job, job.losses + 1, message))

    async def _again(self, live: LiveJob, delay_s: float, message: str) -> None:
        """Let a job wait again as if this attempt had not been, unless it is cancelled."""
        if live.cancelled.is_set():
            await self._write(live, cancelled())
        else:
            await self._give_back(live, delay_s, "given_back", message)

    async def _give_back(self, live: LiveJob, delay_s: float, outcome: str, message: str | None) -> None:
        async def write() -> None:
            if not await self._queue.give_back(live.job, delay_s=delay_s, outcome=outcome, message=message):
                warn_taken(live.job)

        self._live.remove(live)
        await self._insist(live.job, write)

    async def _write(self, live: LiveJob, outcome: Outcome) -> None:
        await self._insist(live.job, lambda: self._endings.end_attempt(live, outcome))

    async def _insist(self, job: JobRecord, write: Callable[[], Awaitable[None]]) -> None:
        """Repeat a write until it succeeds, or the lease is over and the job is somebody else's."""
        deadline = time.monotonic() + self._settings.lease_s
        while True:
            try:
                return await write()
            except (StoreError, NoSpace) as error:
                facts = {"action": "job.write_failed", "job": job.id}
                _log.warning("a job's end could not be written: %s", error, extra=facts)
                if time.monotonic() > deadline:
                    return None
                await asyncio.sleep(WRITE_RETRY_S)
