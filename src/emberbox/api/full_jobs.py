"""Jobs with all that is shown of a single one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.api.views import attempt_view, job_view, moment
from emberbox.schemas.jobs import Attempt, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.service.jobs.jobs import Jobs
    from emberbox.service.jobs.running.artifacts import Artifacts
    from emberbox.store.records import JobRecord

_RAN = frozenset({"succeeded", "failed", "timed_out", "compile_failed"})
"""States that a job reaches only by an attempt that was its last."""


class FullJobs:
    """Adds to jobs what lies outside of their own rows.

    Args:
        jobs: Has the attempts, and the outputs.
        artifacts: Lists what jobs left behind.
    """

    def __init__(self, jobs: Jobs, artifacts: Artifacts) -> None:
        self._jobs = jobs
        self._artifacts = artifacts

    async def view(self, job: JobRecord) -> Job:
        """Return a job with its attempts, and once it has ended with its output and artifacts."""
        attempts = await self._attempts(job)
        if not job.terminal:
            return job_view(job, attempts=attempts)
        # Only what was asked for is kept: without globs there is nothing to look for.
        artifacts = await self._artifacts.list(job.id) if job.spec.artifacts else []
        return job_view(job, output=await self._jobs.output(job), attempts=attempts, artifacts=artifacts)

    async def _attempts(self, job: JobRecord) -> Sequence[Attempt]:
        """Return the attempts that are over.

        The database is not asked where the job itself tells them.
        """
        if job.attempt == 0 or (job.attempt == 1 and job.status == "running"):
            return []
        if job.attempt == 1 and (only := _only_attempt(job)):
            return [only]
        return [attempt_view(attempt) for attempt in await self._jobs.attempts(job.id)]


def _only_attempt(job: JobRecord) -> Attempt | None:
    """Return the first attempt of a job that ended with it; None where the job does not tell."""
    if job.status not in _RAN or job.claimed_at is None or job.finished_at is None:
        return None
    return Attempt.model_construct(
        attempt=1,
        claimed_at=moment(job.claimed_at),
        ended_at=moment(job.finished_at),
        outcome=job.status,
        message=job.message,
    )
