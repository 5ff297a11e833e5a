"""Jobs with all that is shown of a single one: what lies outside of their own rows as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.api.views import job_view, moment, shown
from emberbox.schemas.jobs import Attempt, Job

if TYPE_CHECKING:
    from emberbox.service.jobs.jobs import Jobs
    from emberbox.service.jobs.running.artifacts import Artifacts
    from emberbox.store.records import JobRecord

_RAN = frozenset({"succeeded", "failed", "timed_out", "compile_failed"})
"""States that a job reaches only by an attempt that was its last."""


@dataclass(frozen=True, slots=True)
class FullJobs:
    """Tells of single jobs.

    Args:
        jobs: Knows their attempts and outputs.
        artifacts: The files they left.
    """

    jobs: Jobs
    artifacts: Artifacts

    async def view(self, job: JobRecord) -> Job:
        """Return a job with its attempts, and once it has ended with its output and artifacts."""
        attempts = await self._attempts(job)
        if not job.terminal:
            return job_view(job, attempts=attempts)
        # Only what was asked for is kept: without globs there is nothing to look for.
        artifacts = await self.artifacts.list(job.id) if job.spec.artifacts else []
        output = await self.jobs.output(job)
        return job_view(job, output=output, attempts=attempts, artifacts=artifacts)

    async def _attempts(self, job: JobRecord) -> list[Attempt]:
        """Return the attempts that are over.

        The database is not asked where the job itself tells them.
        """
        if job.attempt == 0 or (job.attempt == 1 and job.status == "running"):
            return []
        if job.attempt == 1 and (only := _only_attempt(job)):
            return [only]
        return [shown(Attempt, attempt) for attempt in await self.jobs.attempts(job.id)]


def _only_attempt(job: JobRecord) -> Attempt | None:
    """Return the first attempt of a job that ended with it; None where the job does not tell."""
    if job.status not in _RAN or job.claimed_at is None or job.finished_at is None:
        return None
    return shown(Attempt, job, ended_at=moment(job.finished_at), outcome=job.status)
