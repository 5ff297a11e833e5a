"""The beginnings of what jobs wrote, and the jobs that ended a moment ago."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emberbox.service.jobs.logs.writer import HEAD

if TYPE_CHECKING:
    from emberbox.store.records import JobRecord

RECENT = 256
"""Jobs whose end is remembered, for those who waited for it."""


@dataclass(frozen=True, slots=True)
class JobOutput:
    """The beginnings of both streams, at most 64 KiB each, and whether more was written.

    `compile` holds what is told of the compile stage; None without one.
    """

    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    compile: dict[str, Any] | None = None


def output_of(
    job: JobRecord, stdout: bytes = b"", stderr: bytes = b"", compiled: dict[str, Any] | None = None
) -> JobOutput:
    """Return the beginnings of what a job wrote, cut to what a result shows."""
    stdout, stderr = stdout[:HEAD], stderr[:HEAD]
    return JobOutput(stdout, stderr, len(stdout) < job.stdout_bytes, len(stderr) < job.stderr_bytes, compiled)


class RecentJobs:
    """Jobs that ended here a moment ago, with their output: looking at one needs no database."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, tuple[JobRecord, JobOutput]] = OrderedDict()

    def add(self, job: JobRecord, output: JobOutput) -> None:
        """Remember a job that has just ended."""
        self._ended[job.id] = (job, output)
        while len(self._ended) > RECENT:
            self._ended.popitem(last=False)

    def get(self, job_id: str) -> tuple[JobRecord, JobOutput] | None:
        """Return a job and its output; None when it is not remembered."""
        return self._ended.get(job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job that is deleted. Repeating is harmless."""
        self._ended.pop(job_id, None)

    def forget(self) -> None:
        """Forget all of them: rows may have been deleted."""
        self._ended.clear()
