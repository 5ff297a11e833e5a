"""Records of the database as the API shows them.

What is shown was checked when it was stored: these views construct the schemas without checking them again.
"""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

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

    from emberbox.service.jobs.logs.reading import LogRecord
    from emberbox.service.jobs.running.live import JobOutput
    from emberbox.store.records import ArtifactRecord, JobRecord

_Item = TypeVar("_Item")
_Model = TypeVar("_Model", bound="BaseModel")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_METRICS = frozenset(JobMetrics.model_fields)
_DETAILS = {"stdout", "stderr", "stdout_truncated", "stderr_truncated", "compile", "attempts", "artifacts"}


def moment(time_us: int) -> datetime:
    """Return microseconds since the epoch as a time in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=time_us)


def moment_or_none(time_us: int | None) -> datetime | None:
    """Return `moment` of a time, and None of None."""
    return None if time_us is None else moment(time_us)


def timestamp(time_us: int) -> str:
    """Return microseconds since the epoch as RFC 3339 text.

    There are always six digits behind the second, so that texts sort as times do.
    """
    seconds, fraction = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def encoded(data: bytes, encoding: str) -> str:
    """Return output as `text` (what is not UTF-8 becomes U+FFFD) or as `base64`."""
    return b64encode(data).decode("ascii") if encoding == "base64" else data.decode("utf-8", "replace")


def shown(kind: type[_Model], record: object, **others: Any) -> _Model:
    """Return what the API shows of a record: the fields of `kind` that it has by the same names.

    Args:
        kind: The schema. Fields whose names end in `_at` are times.
        record: Has times in microseconds since the epoch.
        **others: Fields that the record does not have, or that are shown in another way.
    """
    for name in _fields(kind):
        if name not in others:
            value = getattr(record, name)
            others[name] = moment_or_none(value) if name.endswith("_at") else value
    return kind.model_construct(**others)


@lru_cache
def _fields(kind: type[BaseModel]) -> tuple[str, ...]:
    return tuple(kind.model_fields)


def job_view(
    job: JobRecord,
    *,
    output: JobOutput | None = None,
    attempts: Sequence[Attempt] | None = None,
    artifacts: Sequence[ArtifactRecord] | None = None,
) -> Job:
    """Return a job as the API shows it.

    Of its environment the names alone are shown: the values may be secrets.
    """
    options = job.spec.options
    return shown(
        Job,
        job,
        status=JobStatus(job.status),
        reason=None if job.reason is None else Reason(job.reason),
        retries=job.spec.retries,
        args=list(options.args),
        env_names=sorted(options.env),
        secret_env_names=sorted(job.sealed_env or ()),
        network=options.network,
        interactive=job.spec.interactive,
        limits=shown(JobLimits, options),
        times=shown(JobTimes, job),
        metrics=_metrics(job.metrics),
        **_output(output),
        attempts=None if attempts is None else list(attempts),
        artifacts=None if artifacts is None else [artifact_view(artifact) for artifact in artifacts],
    )


def _metrics(values: Mapping[str, Any] | None) -> JobMetrics | None:
    """Return a job's metrics; names that a later release wrote are passed over."""
    if values is None:
        return None
    return JobMetrics.model_construct(**{name: value for name, value in values.items() if name in _METRICS})


def _output(output: JobOutput | None) -> dict[str, Any]:
    if output is None:
        return dict.fromkeys(("stdout", "stderr", "stdout_truncated", "stderr_truncated", "compile"))
    return {
        "stdout": encoded(output.stdout, "text"),
        "stderr": encoded(output.stderr, "text"),
        "stdout_truncated": output.stdout_truncated,
        "stderr_truncated": output.stderr_truncated,
        "compile": None if output.compile is None else CompileReport.model_construct(**output.compile),
    }


def artifact_view(artifact: ArtifactRecord) -> Artifact:
    """Return what is told of an artifact."""
    return shown(Artifact, artifact, media_type=media_type(artifact.path))


def log_view(records: Sequence[LogRecord], following: str | None, complete: bool, encoding: str) -> LogPage:
    """Return a part of a log; `following` is the `after` of the part behind it."""
    entries = [
        LogEntry.model_construct(
            id=record.id,
            stream=record.stream,
            time=moment(record.time_us),
            data=encoded(record.data, encoding),
        )
        for record in records
    ]
    return LogPage.model_construct(entries=entries, next=following, complete=complete)


def compact_json(**values: object) -> str:
    """Return values as JSON in one line, without blanks."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a body as an answer, without checking it again."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def page(kind: type[Page[_Item]], items: list[_Item], next_cursor: str | None = None) -> Response:
    """Return a part of a list as an answer.

    Args:
        kind: `Page` of what is listed.
        items: In their order.
        next_cursor: Where the next page begins; None after the last one.
    """
    return answer(kind.model_construct(items=items, next_cursor=next_cursor))


def job_page(jobs: Sequence[JobRecord], next_cursor: str | None) -> Response:
    """Return a page of jobs, without what only a single job shows."""
    page = Page[Job].model_construct(items=[job_view(job) for job in jobs], next_cursor=next_cursor)
    return Response(
        page.model_dump_json(exclude={"items": {"__all__": _DETAILS}}), media_type="application/json"
    )
