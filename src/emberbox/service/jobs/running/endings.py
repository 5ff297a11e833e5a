"""The ends of jobs: what became of them is written with all that goes with it, and told to all who wait."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import insert

from emberbox.service.accounts.holdings import charge
from emberbox.service.accounts.usage import record_usage
from emberbox.service.jobs.queue.base import SILENT
from emberbox.service.jobs.rows import find_job
from emberbox.service.jobs.running.live import JobOutput, LiveJob, LiveJobs, output_of
from emberbox.service.webhooks.news import enqueue_for_job
from emberbox.store.database import Database, now_us
from emberbox.store.tables import artifacts, attempts, results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store.records import ArtifactRecord, JobRecord

_log = logging.getLogger(__name__)

ENDED_TOGETHER = 100
"""Waiting jobs that one transaction cancels."""
_STREAMS = ("stdout", "stderr")
Repeatable = Literal["lost", "interrupted"]
"""How an attempt ends that came to no end of its own: by its own VM, or by what is not its job's doing."""


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

    @property
    def stored_bytes(self) -> int:
        """All that is stored of it."""
        return self.size + len(self.stdout or b"") + len(self.stderr or b"")


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
    def stored_bytes(self) -> int:
        """What its log and artifacts take."""
        return self.log.stored_bytes + sum(artifact.size for artifact in self.artifacts)

    @property
    def compile_output(self) -> dict[str, str]:
        """What the compiler wrote, by stream."""
        return {name: (self.compile or {}).get(name, "") for name in _STREAMS}


class Endings:
    """The ends of jobs, of those that ran here and of others.

    Args:
        db: Where ends are written.
        queue: Lets jobs out.
        live: Those that run here; who watches one is told of its end, which is remembered there.
        ended: Called with each job that ended, and how many webhooks are to hear of it.
    """

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        live: LiveJobs,
        *,
        ended: Callable[[JobRecord, int], None],
    ) -> None:
        self._db = db
        self._queue = queue
        self._live = live
        self._ended = ended

    async def end_attempt(self, live: LiveJob, outcome: Outcome) -> None:
        """Write the end of a job that ran here. Raises `StoreError` or `NoSpace`: nothing was written.

        Repeating is harmless, also where it is not known whether an earlier call came through.
        """
        job, heads = live.job, live.log.heads
        finished = await self._finish(job, outcome) or await self._finished_before(job)
        if finished is None:
            warn_taken(job)
            return
        done, news = finished
        streams = bytes(heads["stdout"]), bytes(heads["stderr"])
        self._tell(done, news, output_of(done, *streams, outcome.compile))
        self._live.remove(live)

    async def end_reclaimed(self, job: JobRecord) -> None:
        """Write off a job that was interrupted once too often, the last time with its worker."""
        outcome = written_off(job, "interrupted", job.interruptions, SILENT)
        if (finished := await self._finish(job, outcome)) is not None:
            done, news = finished
            self._tell(done, news, output_of(done))

    async def end_queued(self, job_id: str) -> JobRecord | None:
        """Cancel a job that waits; None when it does not wait any more."""
        return next(iter(await self.end_all_queued([job_id])), None)

    async def end_all_queued(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """Cancel those of the jobs that wait still, some of them in each transaction; returns them."""
        ended: list[JobRecord] = []
        for start in range(0, len(job_ids), ENDED_TOGETHER):
            some = job_ids[start : start + ENDED_TOGETHER]
            done = await self._db.write(partial(self._end_some_queued, some))
            for job, news in done:
                self._tell(job, news, output_of(job))
            ended += [job for job, _ in done]
        return ended

    async def _end_some_queued(
        self, job_ids: Sequence[str], connection: AsyncConnection
    ) -> list[tuple[JobRecord, int]]:
        outcome = Outcome(status="cancelled", reason="cancelled", message="cancelled while it waited")
        done: list[tuple[JobRecord, int]] = []
        for job_id in job_ids:
            job = await self._queue.end_queued(connection, job_id, _terminal(outcome, now_us()))
            if job is not None:
                done.append((job, await _account(connection, job)))
        return done

    async def _finish(self, job: JobRecord, outcome: Outcome) -> tuple[JobRecord, int] | None:
        """Write the terminal state of an attempt, with log, artifacts, usage and news: all of it or nothing.

        Returns:
            The job as it is now, and how many webhooks are to hear of it; None when the worker no
            longer held that attempt, and nothing was written.
        """

        async def write(connection: AsyncConnection) -> tuple[JobRecord, int] | None:
            now = now_us()
            stored = outcome.stored_bytes
            end = _terminal(outcome, now) | {"storage_bytes": job.storage_bytes + stored}
            if not await self._queue.end_held(connection, job, end):
                return None
            done = replace(job, **end, lease_until_at=None)
            await _add_attempt(connection, job, outcome, now)
            await _add_result(connection, job, outcome)
            if outcome.artifacts:
                await connection.execute(
                    insert(artifacts), [artifact.to_row() for artifact in outcome.artifacts]
                )
            await charge(connection, job, stored)
            return done, await _account(connection, done)

        return await self._db.write(write)

    async def _finished_before(self, job: JobRecord) -> tuple[JobRecord, int] | None:
        """Return the same where this very attempt has ended: an earlier write of it came through, unheard."""
        now = await self._db.read(lambda connection: find_job(connection, job.id))
        if now is None or not now.terminal or (now.worker_id, now.attempt) != (job.worker_id, job.attempt):
            return None
        return now, 1

    def _tell(self, job: JobRecord, news: int, output: JobOutput) -> None:
        self._live.recent[job.id] = (job, output)
        self._live.notify(job.id)
        facts = {"job": job.id, "status": job.status, "reason": job.reason, "attempt": job.attempt}
        _log.info("job %s: %s", job.id, job.status, extra={"action": "job.ended", **facts})
        self._ended(job, news)


def times_by_now(job: JobRecord, outcome: Repeatable) -> int:
    """Return how many earlier attempts of a job ended so."""
    return job.losses if outcome == "lost" else job.interruptions


def written_off(job: JobRecord, outcome: Repeatable, times: int, message: str) -> Outcome:
    """Return the end of a job of which one attempt too many ended so, `times` of them by now."""
    if job.cancel_at is not None:
        return cancelled()
    reason = "vm_lost" if outcome == "lost" else "worker_lost"
    return Outcome(status="lost", reason=reason, message=f"{outcome} {times} times; the last time: {message}")


def cancelled() -> Outcome:
    """Return the end of a job that was cancelled while it ran, without a result of its own."""
    return Outcome(status="cancelled", reason="cancelled", message="cancelled by its caller")


def warn_taken(job: JobRecord) -> None:
    """Log that a job's attempt is not this worker's any more."""
    _log.warning("a job was taken from this worker", extra={"action": "job.taken", "job": job.id})


def _terminal(outcome: Outcome, now: int) -> dict[str, Any]:
    """Return the columns of a job that ends, but for its bytes."""
    return {
        **{name: getattr(outcome, name) for name in _TOLD},
        "finished_at": now,
        "metrics": outcome.metrics or None,
    }


_TOLD = (
    "status",
    "reason",
    "message",
    "exit_code",
    "signal",
    "started_at",
    "ended_at",
    "stdout_bytes",
    "stderr_bytes",
)
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
        team_id=job.team_id,
        key_id=job.key_id,
        day=datetime.now(UTC).date().isoformat(),
        succeeded=job.status == "succeeded",
        cpu_s=sum(metrics.get(name, 0.0) for name in ("cpu_user_ms", "cpu_system_ms", "compile_cpu_ms"))
        / 1000,
        run_s=metrics.get("run_ms", 0.0) / 1000,
    )
    return await enqueue_for_job(connection, job)
