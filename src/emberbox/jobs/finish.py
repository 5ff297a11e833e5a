"""The end of a job: one transaction that writes its terminal state and all that goes with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, update

from emberbox.jobs.queue.database import held_by
from emberbox.store.database import now_us
from emberbox.store.deliveries import enqueue_for_job
from emberbox.store.records import ArtifactRecord, JobRecord
from emberbox.store.tables import artifacts, attempts, jobs, results
from emberbox.store.usage import record_usage

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """Where a finished log lies: in `data`, or in the blob store under `key` with both streams' beginnings beside it."""

    size: int = 0
    data: bytes | None = b""
    key: str | None = None
    stdout: bytes | None = None
    stderr: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt. Times in µs since the epoch; `metrics` as in `emberbox.schemas.jobs.JobMetrics`."""

    status: str
    reason: str
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    log: StoredLog = field(default_factory=StoredLog)
    artifacts: tuple[ArtifactRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that has just ended, and how many webhooks are to hear of it."""

    job: JobRecord
    news: int


async def finish(db: Database, job: JobRecord, outcome: Outcome) -> Finished | None:
    """Write the terminal state of an attempt, with its log, artifacts, usage and news: all of it or nothing.

    Returns:
        The job as it is now; None when the worker no longer held that attempt, and nothing was written.
    """

    async def write(connection: AsyncConnection) -> Finished | None:
        now = now_us()
        done = await _set_terminal(connection, held_by(job), outcome, now)
        if done is None:
            return None
        await _add_attempt(connection, job, outcome, now)
        await _add_result(connection, job, outcome.log)
        if outcome.artifacts:
            await connection.execute(insert(artifacts), [_row(record) for record in outcome.artifacts])
        return Finished(done, await _account(connection, done))

    return await db.write(write)


async def finish_queued(connection: AsyncConnection, job_id: str, outcome: Outcome) -> Finished | None:
    """End a job that waits, within the caller's transaction; None when it does not wait any more."""
    waiting = (jobs.c.id == job_id) & (jobs.c.status == "queued")
    done = await _set_terminal(connection, waiting, outcome, now_us())
    return None if done is None else Finished(done, await _account(connection, done))


async def _set_terminal(connection: AsyncConnection, which: ColumnElement[bool], outcome: Outcome, now: int) -> JobRecord | None:
    statement = (
        update(jobs)
        .where(which)
        .values(
            status=outcome.status,
            reason=outcome.reason,
            message=outcome.message,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            started_at=outcome.started_at,
            ended_at=outcome.ended_at,
            finished_at=now,
            lease_until_at=None,
            metrics=outcome.metrics or None,
            stdout_bytes=outcome.stdout_bytes,
            stderr_bytes=outcome.stderr_bytes,
            storage_bytes=outcome.log.size + sum(artifact.size for artifact in outcome.artifacts),
        )
        .returning(*jobs.c)
    )
    row = (await connection.execute(statement)).mappings().first()
    return None if row is None else JobRecord.from_row(row)


async def _add_attempt(connection: AsyncConnection, job: JobRecord, outcome: Outcome, now: int) -> None:
    await connection.execute(
        insert(attempts).values(
            job_id=job.id,
            attempt=job.attempt,
            worker_id=job.worker_id,
            claimed_at=job.claimed_at,
            ended_at=now,
            outcome=outcome.status,
            message=outcome.message,
        )
    )


async def _add_result(connection: AsyncConnection, job: JobRecord, log: StoredLog) -> None:
    await connection.execute(
        insert(results).values(
            job_id=job.id,
            attempt=job.attempt,
            log=log.data,
            log_key=log.key,
            log_bytes=log.size,
            stdout=log.stdout,
            stderr=log.stderr,
        )
    )


async def _account(connection: AsyncConnection, job: JobRecord) -> int:
    metrics = job.metrics or {}
    await record_usage(
        connection,
        key_id=job.key_id,
        day=datetime.now(UTC).date().isoformat(),
        succeeded=job.status == "succeeded",
        cpu_s=(metrics.get("cpu_user_ms", 0.0) + metrics.get("cpu_system_ms", 0.0)) / 1000,
        run_s=metrics.get("run_ms", 0.0) / 1000,
    )
    return await enqueue_for_job(connection, job)


def _row(record: ArtifactRecord) -> dict[str, Any]:
    return {column.name: getattr(record, column.name) for column in artifacts.c}
