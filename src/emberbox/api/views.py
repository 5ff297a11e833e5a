"""Records of the database as the API shows them.

What is shown was checked when it was stored: these views construct the schemas without checking them again.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastapi import Response

from emberbox.media_types import media_type
from emberbox.schemas.base import Page
from emberbox.schemas.jobs import (
    Artifact,
    Attempt,
    CompileReport,
    Job,
    JobLimits,
    JobMetrics,
    JobStatus,
    JobTimes,
    LogEntry,
    LogPage,
    Reason,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from emberbox.jobs.jobs import AttemptRecord, JobOutput
    from emberbox.jobs.logs import LogRecord
    from emberbox.jobs.service import Service
    from emberbox.store.records import ArtifactRecord, JobRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_METRICS = frozenset(JobMetrics.model_fields)
_DETAILS = {"stdout", "stderr", "stdout_truncated", "stderr_truncated", "compile", "attempts", "artifacts"}


def moment(time_us: int) -> datetime:
    """Return microseconds since the epoch as a time in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=time_us)


def timestamp(time_us: int) -> str:
    """Return microseconds since the epoch as RFC 3339 text, always with six digits: equal lengths, sortable as text."""
    seconds, fraction = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def encoded(data: bytes, encoding: str) -> str:
    """Return output as `text` (what is not UTF-8 becomes U+FFFD) or as `base64`."""
    return b64encode(data).decode("ascii") if encoding == "base64" else data.decode("utf-8", "replace")


def job_view(
    job: JobRecord,
    *,
    output: JobOutput | None = None,
    attempts: Sequence[Attempt] | None = None,
    artifacts: Sequence[ArtifactRecord] | None = None,
) -> Job:
    """Return a job as the API shows it. Of its environment the names alone are shown: the values may be secrets."""
    spec = job.spec
    return Job.model_construct(
        id=job.id,
        script_id=job.script_id,
        rerun_of=job.rerun_of,
        name=job.name,
        runtime=job.runtime,
        entry=job.entry,
        status=JobStatus(job.status),
        reason=None if job.reason is None else Reason(job.reason),
        message=job.message,
        exit_code=job.exit_code,
        signal=job.signal,
        attempt=job.attempt,
        priority=job.priority,
        retries=spec.retries,
        args=spec.args,
        env_names=sorted(spec.env),
        labels=job.labels,
        network=spec.network,
        interactive=spec.interactive,
        limits=_limits(job),
        times=_times(job),
        metrics=_metrics(job.metrics),
        stdout_bytes=job.stdout_bytes,
        stderr_bytes=job.stderr_bytes,
        **_output(output),
        attempts=None if attempts is None else list(attempts),
        artifacts=None if artifacts is None else [artifact_view(artifact) for artifact in artifacts],
    )


def _limits(job: JobRecord) -> JobLimits:
    spec = job.spec
    return JobLimits.model_construct(
        timeout_s=spec.timeout_s,
        cpu_s=spec.cpu_s,
        memory_mib=spec.memory_mib,
        vcpus=spec.vcpus,
        disk_mib=spec.disk_mib,
        pids=spec.pids,
        output_bytes=spec.output_bytes,
    )


def _times(job: JobRecord) -> JobTimes:
    return JobTimes.model_construct(
        created_at=moment(job.created_at),
        claimed_at=_moment(job.claimed_at),
        started_at=_moment(job.started_at),
        ended_at=_moment(job.ended_at),
        finished_at=_moment(job.finished_at),
    )


def _moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else moment(time_us)


def _metrics(values: Mapping[str, Any] | None) -> JobMetrics | None:
    """Return a job's metrics; names that a later release wrote are passed over."""
    if values is None:
        return None
    return JobMetrics.model_construct(**{name: value for name, value in values.items() if name in _METRICS})


def _output(output: JobOutput | None) -> dict[str, Any]:
    if output is None:
        return {}
    return {
        "stdout": encoded(output.stdout, "text"),
        "stderr": encoded(output.stderr, "text"),
        "stdout_truncated": output.stdout_truncated,
        "stderr_truncated": output.stderr_truncated,
        "compile": None if output.compile is None else CompileReport.model_construct(**output.compile),
    }


def attempt_view(attempt: AttemptRecord) -> Attempt:
    """Return how an attempt ended."""
    return Attempt.model_construct(
        attempt=attempt.attempt,
        claimed_at=moment(attempt.claimed_at),
        ended_at=moment(attempt.ended_at),
        outcome=attempt.outcome,
        message=attempt.message,
    )


def artifact_view(artifact: ArtifactRecord) -> Artifact:
    """Return what is told of an artifact."""
    return Artifact.model_construct(
        id=artifact.id,
        path=artifact.path,
        size=artifact.size,
        media_type=media_type(artifact.path),
        sha256=artifact.sha256,
        created_at=moment(artifact.created_at),
    )


def log_view(records: Sequence[LogRecord], following: str | None, complete: bool, encoding: str) -> LogPage:
    """Return a part of a log; `following` is the `after` of the part behind it."""
    entries = [
        LogEntry.model_construct(
            id=record.id, stream=record.stream, time=moment(record.time_us), data=encoded(record.data, encoding)
        )
        for record in records
    ]
    return LogPage.model_construct(entries=entries, next=following, complete=complete)


async def job_in_full(service: Service, job: JobRecord) -> Job:
    """Return a job with its attempts, and once it has ended with its output and artifacts."""
    attempts = await _attempts(service, job)
    if not job.terminal:
        return job_view(job, attempts=attempts)
    # Only what was asked for is kept: without globs there is nothing to look for.
    artifacts = await service.artifacts.list(job.id) if job.spec.artifacts else []
    return job_view(job, output=await service.jobs.output(job), attempts=attempts, artifacts=artifacts)


async def _attempts(service: Service, job: JobRecord) -> Sequence[Attempt]:
    """Return the attempts that are over, without a question to the database where the job tells them itself."""
    if job.attempt == 0 or (job.attempt == 1 and job.status == "running"):
        return []
    if job.attempt == 1 and job.status in _RAN and job.claimed_at is not None and job.finished_at is not None:
        return [
            Attempt.model_construct(
                attempt=1,
                claimed_at=moment(job.claimed_at),
                ended_at=moment(job.finished_at),
                outcome=job.status,
                message=job.message,
            )
        ]
    return [attempt_view(attempt) for attempt in await service.jobs.attempts(job.id)]


_RAN = frozenset({"succeeded", "failed", "timed_out", "compile_failed"})
"""States that a job reaches only by an attempt that was its last."""


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a body as an answer, without checking it again."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def job_page(jobs: Sequence[JobRecord], next_cursor: str | None) -> Response:
    """Return a page of jobs, without what only a single job shows."""
    page = Page[Job].model_construct(items=[job_view(job) for job in jobs], next_cursor=next_cursor)
    return Response(page.model_dump_json(exclude={"items": {"__all__": _DETAILS}}), media_type="application/json")
