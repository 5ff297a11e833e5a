"""Ends jobs: writes what became of them, and tells all who wait for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from emberbox.service.jobs.running.finish import Finished, Outcome, finish, finish_queued
from emberbox.service.jobs.running.outputs import output_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.live import LiveJob, LiveJobs
    from emberbox.service.jobs.running.outputs import JobOutput, RecentJobs
    from emberbox.store import Database
    from emberbox.store.records import JobRecord

_log = logging.getLogger(__name__)


class Endings:
    """The ends of jobs, of those that ran here and of others.

    Args:
        db: Where ends are written.
        queue: Lets jobs out.
        live: Those that run here; who watches one is told of its end.
        recent: Remembers those that ended.
        ended: Called with each job that ended.
    """

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        live: LiveJobs,
        recent: RecentJobs,
        *,
        ended: Callable[[Finished], None],
    ) -> None:
        self._db = db
        self._queue = queue
        self._live = live
        self._recent = recent
        self._ended = ended

    async def end_attempt(self, live: LiveJob, outcome: Outcome) -> None:
        """Write the end of a job that ran here. Raises `StoreError` or `NoSpace`: nothing was written."""
        finished = await finish(self._db, self._queue, live.job, outcome)
        if finished is None:
            warn_taken(live.job)
            return
        stdout, stderr = bytes(live.log.heads["stdout"]), bytes(live.log.heads["stderr"])
        self._live.remove(live)
        self._tell(finished, output_of(finished.job, stdout, stderr, outcome.compile))

    async def end_reclaimed(self, job: JobRecord) -> None:
        """Write off a job that was lost once too often with its worker."""
        outcome = written_off(job, job.losses, "its worker stopped without a word")
        if (finished := await finish(self._db, self._queue, job, outcome)) is not None:
            self._tell(finished, output_of(finished.job))

    async def end_queued(self, job_id: str) -> JobRecord | None:
        """Cancel a job that waits; None when it does not wait any more."""
        outcome = Outcome(status="cancelled", reason="cancelled", message="cancelled while it waited")
        async with self._db.writing() as connection:
            finished = await finish_queued(connection, self._queue, job_id, outcome)
        if finished is None:
            return None
        self._tell(finished, output_of(finished.job))
        return finished.job

    def _tell(self, finished: Finished, output: JobOutput) -> None:
        job = finished.job
        self._recent.add(job, output)
        self._live.notify(job.id)
        facts = {"job": job.id, "status": job.status, "reason": job.reason, "attempt": job.attempt}
        _log.info("job %s: %s", job.id, job.status, extra={"action": "job.ended", **facts})
        self._ended(finished)


def written_off(job: JobRecord, losses: int, message: str) -> Outcome:
    """Return the end of a job that was lost once too often, `losses` times by now."""
    if job.cancel_at is not None:
        return cancelled()
    return Outcome(
        status="lost", reason="worker_lost", message=f"lost {losses} times; the last time: {message}"
    )


def cancelled() -> Outcome:
    """Return the end of a job that was cancelled while it ran, without a result of its own."""
    return Outcome(status="cancelled", reason="cancelled", message="cancelled by its caller")


def warn_taken(job: JobRecord) -> None:
    """Log that a job's attempt is not this worker's any more."""
    _log.warning("a job was taken from this worker", extra={"action": "job.taken", "job": job.id})
