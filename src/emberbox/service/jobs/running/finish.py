"""The end of a job: one transaction that writes its terminal state and all that goes with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from emberbox.service.accounts.usage import record_usage
from emberbox.service.webhooks.news import enqueue_for_job
from emberbox.store.database import now_us
from emberbox.store.tables import artifacts, attempts, results

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store import Database
    from emberbox.store.records import ArtifactRecord, JobRecord


_STREAMS = ("stdout", "stderr")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """Where a finished log lies: in `data`, or in the blob store under `key`.

    `stdout` and `stderr` are the streams' beginnings, beside a log in the blob store.
    """

    size: int = 0
    data: bytes | None = b""
    key: str | None = None
    stdout: bytes | None = None
    stderr: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt.

    Times in µs since the epoch; `metrics` and `compile` as in `emberbox.schemas.jobs`.
    """

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
    compile: dict[str, Any] | None = None

    @property
    def compile_output(self) -> dict[str, str]:
        """What the compiler wrote, by stream."""
        return {name: (self.compile or {}).get(name, "") for name in _STREAMS}


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that has just ended, and how many webhooks are to hear of it."""

    job: JobRecord
    news: int


async def finish(db: Database, queue: JobQueue, job: JobRecord, outcome: Outcome) -> Finished | None:
    """Write the terminal state of an attempt, with its log, artifacts, usage and news: all of it or nothing.

    Returns:
        The job as it is now; None when the worker no longer held that attempt, and nothing was
        written.
    """

    async def write(connection: AsyncConnection) -> Finished | None:
        now = now_us()
        end = _terminal(outcome, now)
        if not await queue.end_held(connection, job, end):
            return None
        done = replace(job, **end, lease_until_at=None)
        await _add_attempt(connection, job, outcome, now)
        await _add_result(connection, job, outcome)
        if outcome.artifacts:
            await connection.execute(insert(artifacts), [_row(record) for record in outcome.artifacts])
        return Finished(done, await _account(connection, done))

    return await db.write(write)


async def finish_queued(
    connection: AsyncConnection, queue: JobQueue, job_id: str, outcome: Outcome
) -> Finished | None:
    """End a job that waits, within the caller's transaction; None when it does not wait any more."""
    done = await queue.end_queued(connection, job_id, _terminal(outcome, now_us()))
    return None if done is None else Finished(done, await _account(connection, done))


def _terminal(outcome: Outcome, now: int) -> dict[str, Any]:
    """Return the columns of a job that ends."""
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "message": outcome.message,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "started_at": outcome.started_at,
        "ended_at": outcome.ended_at,
        "finished_at": now,
        "metrics": outcome.metrics or None,
        "stdout_bytes": outcome.stdout_bytes,
        "stderr_bytes": outcome.stderr_bytes,
        "storage_bytes": outcome.log.size + sum(artifact.size for artifact in outcome.artifacts),
    }


_ATTEMPT, _RESULT = insert(attempts), insert(results)


async def _add_attempt(connection: AsyncConnection, job: JobRecord, outcome: Outcome, now: int) -> None:
    row = {
        "job_id": job.id,
        "attempt": job.attempt,
        "worker_id": job.worker_id,
        "claimed_at": job.claimed_at,
        "ended_at": now,
        "outcome": outcome.status,
        "message": outcome.message,
    }
    await connection.execute(_ATTEMPT, row)


async def _add_result(connection: AsyncConnection, job: JobRecord, outcome: Outcome) -> None:
    log, compiled = outcome.log, outcome.compile
    row = {
        "job_id": job.id,
        "attempt": job.attempt,
        "log": log.data,
        "log_key": log.key,
        "log_bytes": log.size,
        "stdout": log.stdout,
        "stderr": log.stderr,
        "compile": compiled and {name: value for name, value in compiled.items() if name not in _STREAMS},
        "compile_output": compiled and outcome.compile_output,
    }
    await connection.execute(_RESULT, row)


async def _account(connection: AsyncConnection, job: JobRecord) -> int:
    metrics = job.metrics or {}
    await record_usage(
        connection,
        key_id=job.key_id,
        day=datetime.now(UTC).date().isoformat(),
        succeeded=job.status == "succeeded",
        cpu_s=sum(metrics.get(name, 0.0) for name in ("cpu_user_ms", "cpu_system_ms", "compile_cpu_ms"))
        / 1000,
        run_s=metrics.get("run_ms", 0.0) / 1000,
    )
    return await enqueue_for_job(connection, job)


def _row(record: ArtifactRecord) -> dict[str, Any]:
    return {column.name: getattr(record, column.name) for column in artifacts.c}
