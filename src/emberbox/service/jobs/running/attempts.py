"""One claimed job: it is run, and then ended, repeated or given back."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, EmberboxError
from emberbox.net.backoff import Backoff
from emberbox.service.jobs.running.blame import UNWRITTEN, by_its_own_vm, told_of
from emberbox.service.jobs.running.endings import (
    Endings,
    Outcome,
    Repeatable,
    cancelled,
    times_by_now,
    warn_taken,
    written_off,
)
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import WorkerSettings
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.held import HeldEnds
    from emberbox.service.jobs.running.live import LiveJob, LiveJobs
    from emberbox.service.jobs.running.pace import Pace
    from emberbox.service.jobs.running.runner import Runner
    from emberbox.store.records import JobRecord

_log = logging.getLogger(__name__)

AGAIN = Backoff(first_s=1.0, longest_s=60.0)
"""When an attempt is repeated that failed by its own program or VM."""
INTERRUPTED = Backoff(first_s=5.0, longest_s=300.0, jitter=0.5)
"""When one is repeated that was cut short. Chance brings those apart that were cut short together: one
that kills its worker each time does not take the same others along each time. The first pauses are long
enough that such a job does not use up the starts that systemd allows a service."""
STOPPED = "the service stopped before it ended"


class Attempts:
    """Runs claimed jobs, and sees that each is ended or waits again.

    Args:
        runner: Runs an attempt.
        queue: Takes back what is to be repeated.
        endings: Writes the ends.
        held: Keeps what cannot be written at once.
        live: Those that run here.
        pace: Is told what the disk and the stores fail at.
        settings: How often a job may be repeated.
        repeated: Called for each attempt that came to no end of its own, with `lost` or `interrupted`.
    """

    def __init__(
        self,
        runner: Runner,
        queue: JobQueue,
        endings: Endings,
        held: HeldEnds,
        live: LiveJobs,
        pace: Pace,
        settings: WorkerSettings,
        *,
        repeated: Callable[[str], None],
    ) -> None:
        self._runner = runner
        self._queue = queue
        self._endings = endings
        self._held = held
        self._live = live
        self._pace = pace
        self._settings = settings
        self._count = repeated

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
            await shielded(self._interrupted(live, STOPPED))
        except EmberboxError as error:
            await shielded(self._failed(live, error))
        except Exception as error:
            _log.exception("a job broke its worker", extra={"action": "job.broke", "job": live.job.id})
            await shielded(self._interrupted(live, f"its worker failed: {type(error).__name__}"))
        else:
            await shielded(self._end(live, outcome))

    async def _end(self, live: LiveJob, outcome: Outcome) -> None:
        """Write what became of the attempt: the job's end, or its wait for the next attempt."""
        job = live.job
        repeat = outcome.status in ("failed", "timed_out") and job.failures < job.spec.retries
        if repeat and outcome.reason not in ("refused", "input_failed"):
            delay_s = AGAIN.pause_s(job.failures + 1)
            written = await self._give_back(live, delay_s, outcome.status, outcome.message)
            await self._runner.discard(outcome)
        else:
            written = await self._write(live, outcome)
        if written:
            self._pace.ease()

    async def _failed(self, live: LiveJob, error: EmberboxError) -> None:
        """Repeat an attempt that came to no end of its own, or write the job off."""
        facts = {"job": live.job.id, "code": error.code, "detail": error.detail}
        _log.warning("an attempt failed: %s", error, extra={"action": "job.attempt_failed", **facts})
        if isinstance(error, CapacityExhausted):
            await self._wait(live, error.message)
        elif await by_its_own_vm(error, live.sandbox):
            await self._repeat(live, "lost", AGAIN, self._settings.losses, error.message)
        else:
            if isinstance(error, UNWRITTEN):
                self._pace.hinder()
            await self._interrupted(live, told_of(error))

    async def _wait(self, live: LiveJob, message: str) -> None:
        """Let a job wait that the host was too busy to begin. It may do so as long as it takes."""
        if live.cancelled.is_set():
            await self._write(live, cancelled())
        else:
            await self._give_back(live, AGAIN.first_s, "given_back", message)

    async def _interrupted(self, live: LiveJob, message: str) -> None:
        await self._repeat(live, "interrupted", INTERRUPTED, self._settings.interruptions, message)

    async def _repeat(
        self, live: LiveJob, outcome: Repeatable, pauses: Backoff, most: int, message: str
    ) -> None:
        """Let a job wait for its next attempt, or write it off where `most` of them ended so already."""
        if live.cancelled.is_set():
            await self._write(live, cancelled())
            return
        self._count(outcome)
        times = times_by_now(live.job, outcome) + 1
        if times <= most:
            await self._give_back(live, pauses.pause_s(times), outcome, message)
        else:
            await self._write(live, written_off(live.job, outcome, times, message))

    async def _give_back(self, live: LiveJob, delay_s: float, outcome: str, message: str | None) -> bool:
        async def write() -> None:
            if not await self._queue.give_back(live.job, delay_s=delay_s, outcome=outcome, message=message):
                warn_taken(live.job)

        self._live.remove(live)
        return await self._insist(live, write)

    async def _write(self, live: LiveJob, outcome: Outcome) -> bool:
        return await self._insist(live, lambda: self._endings.end_attempt(live, outcome))

    async def _insist(self, live: LiveJob, write: Callable[[], Awaitable[None]]) -> bool:
        """Write what became of an attempt; False where that cannot be, and the job is run again."""
        try:
            await self._held.insist(live.job, write, waiting=partial(self._runner.release, live))
        except UNWRITTEN as error:
            await self._drop(live.job, error)
            return False
        return True

    async def _drop(self, job: JobRecord, error: EmberboxError) -> None:
        """Let the job be run again. Where not even that can be written, its lease runs out by itself."""
        facts = {"action": "job.end_dropped", "job": job.id, "code": error.code}
        _log.error("what became of a job could not be written, so it is run again: %s", error, extra=facts)
        delay_s = INTERRUPTED.pause_s(job.interruptions + 1)
        message = f"its end was not written: {told_of(error)}"
        try:
            await self._queue.give_back(job, delay_s=delay_s, outcome="interrupted", message=message)
        except UNWRITTEN as failure:
            _log.warning("a job could not be handed back: %s", failure, extra=facts)
