"""Jobs: submitted, looked at, waited for, cancelled, run again, deleted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, and_, cast, delete, func, literal, select, update

from emberbox.errors import Conflict, EmberboxError, InvalidInput, NotFound
from emberbox.ids import is_id
from emberbox.jobs.acceptance import Acceptance, JobOrder
from emberbox.jobs.finish import Finished, Outcome, finish_queued
from emberbox.jobs.log_format import LogParser, Position
from emberbox.jobs.log_writer import HEAD
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord
from emberbox.store.tables import artifacts, attempts, idempotency, jobs, results
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.blobs import BlobStore
    from emberbox.jobs.live import LiveJobs
    from emberbox.jobs.queue import JobQueue
    from emberbox.jobs.quota import Quotas
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord

FOREIGN_S = 1.0
"""A job that runs in another process is looked at this often by those who wait for it."""
FRESH = 1024
"""Jobs just accepted, of which it is known that they wait."""
RECENT = 256
"""Jobs whose end is remembered, for those who waited for it."""

_UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class JobOutput:
    """The beginnings of both streams, at most 64 KiB each, whether more was written, and what is told of the compile stage."""

    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    compile: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """A row of `attempts`."""

    attempt: int
    worker_id: str
    claimed_at: int
    ended_at: int
    outcome: str
    message: str | None


class Jobs:
    """All jobs, as their keys see them.

    Args:
        db: Their rows.
        blobs: Their large logs and artifacts.
        queue: Is told of new ones.
        live: Those that run here.
        quotas: What each key may use.
        ready: Called before a job is accepted; raises what speaks against it.
        told: Called with each job that is cancelled while it waits.
        accepted: Called with each new job.
    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        queue: JobQueue,
        live: LiveJobs,
        quotas: Quotas,
        *,
        ready: Callable[[], None],
        told: Callable[[Finished], None],
        accepted: Callable[[JobRecord], None] | None = None,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._queue = queue
        self._live = live
        self._quotas = quotas
        self._acceptance = Acceptance(db, quotas)
        self._ready = ready
        self._told = told
        self._accepted = accepted
        self._recent: OrderedDict[str, tuple[JobRecord, JobOutput]] = OrderedDict()
        self._fresh: OrderedDict[str, object] = OrderedDict()

    # -- coming in -------------------------------------------------------------------------------------------

    async def submit(
        self, key: KeyRecord, order: JobOrder, *, idempotency: tuple[str, str] | None = None
    ) -> tuple[JobRecord, bool]:
        """Accept a job: once this returns it will be run, whatever befalls the service.

        Args:
            key: Whose job it is.
            order: What to run.
            idempotency: The request's Idempotency-Key and a hash of the request; None without.

        Returns:
            The job, and whether it is new; False for the job of an earlier request with the same Idempotency-Key.

        Raises:
            IdempotencyMismatch: That earlier request was another one.
            QuotaExceeded, NoSpace, ServiceStopping: Nothing was accepted.
        """
        try:
            self._ready()
            self._quotas.learn(key)
            await self._quotas.check_storage(key)
        except EmberboxError:
            if idempotency is not None and (earlier := await self._acceptance.earlier(key, idempotency)) is not None:
                return earlier, False
            raise
        job, new = await self._acceptance.accept(key, order, idempotency)
        if new:
            self._fresh[job.id] = None
            while len(self._fresh) > FRESH:
                self._fresh.popitem(last=False)
            await self._queue.put([job])
            if self._accepted is not None:
                self._accepted(job)
        return job, new

    async def settle(self) -> None:
        """Wait until everything that was submitted is written."""
        await self._acceptance.settle()

    async def rerun(self, key: KeyRecord, job_id: str) -> JobRecord:
        """Submit the same job again. Raises as `get` and `submit` do."""
        job = await self.get(key, job_id)
        order = JobOrder(
            runtime=job.runtime, entry=job.entry, content_sha=job.content_sha, files_sha=job.files_sha, stdin_sha=job.stdin_sha,
            spec=job.spec, labels=job.labels, webhook=job.webhook, priority=job.priority, name=job.name,
            script_id=job.script_id, rerun_of=job.id,
        )  # fmt: skip
        return (await self.submit(key, order))[0]

    # -- looking ---------------------------------------------------------------------------------------------

    async def get(self, key: KeyRecord, job_id: str) -> JobRecord:
        """Return a job of this key. Raises `NotFound`."""
        job = await self._find(job_id)
        if job is None or job.key_id != key.id:
            raise NotFound(f"there is no job {job_id[:64]!r}")
        return job

    async def _find(self, job_id: str) -> JobRecord | None:
        if not is_id(job_id, "job"):
            return None
        if job_id in self._recent:
            return self._recent[job_id][0]
        job = await self._db.read(lambda connection: _select(connection, job_id))
        return None if job is None else self._with_times(job)

    def _with_times(self, job: JobRecord) -> JobRecord:
        """Add when the program began, which the row tells only at the end."""
        live = self._live.get(job.id)
        return replace(job, started_at=live.started_at) if live is not None and not job.terminal else job

    async def list(
        self,
        key: KeyRecord,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: str | None = None,
        runtime: str | None = None,
        script_id: str | None = None,
        label: tuple[str, str] | None = None,
    ) -> tuple[list[JobRecord], str | None]:
        """Return a page of a key's jobs, newest first, and the cursor of the next page.

        Raises:
            InvalidInput: `cursor` is none of this list.
        """
        wanted = [jobs.c.key_id == key.id]
        if cursor is not None:
            if not is_id(cursor, "job"):
                raise InvalidInput("this cursor is none of the list of jobs; use 'next_cursor' of a page as it is")
            wanted.append(jobs.c.id < cursor)
        for column, value in ((jobs.c.status, status), (jobs.c.runtime, runtime), (jobs.c.script_id, script_id)):
            if value is not None:
                wanted.append(column == value)
        if label is not None:
            wanted.append(_has_label(label))
        statement = select(jobs).where(*wanted).order_by(jobs.c.id.desc()).limit(limit + 1)
        async with self._db.reading() as connection:
            found = [JobRecord.from_row(row) for row in (await connection.execute(statement)).mappings()]
        page = [self._with_times(job) for job in found[:limit]]
        return page, page[-1].id if len(found) > limit else None

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Wait until a job has ended; returns it as it is then, or after `timeout_s` seconds. Raises `NotFound`.

        A service that ends lets those who wait go at once.
        """
        deadline = time.monotonic() + timeout_s
        with self._live.watching(job_id) as changed:
            while True:
                changed.clear()
                left = 0.0 if self._live.closing.is_set() else deadline - time.monotonic()
                if left <= 0 or not self._nothing_new(job_id):
                    # Who waits may leave at any moment, and a database's connection does not survive that in mid-question.
                    job = await shielded(self._find(job_id))
                    if job is None:
                        raise NotFound(f"there is no job {job_id[:64]!r}")
                    if job.terminal or left <= 0:
                        return job
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, FOREIGN_S)):
                        await changed.wait()

    def _nothing_new(self, job_id: str) -> bool:
        """Return whether the row need not be looked at: the job runs here, or was accepted here a moment ago."""
        if job_id in self._recent:
            return False
        if self._live.get(job_id) is not None:
            return True
        # Only once: if nobody here takes it, another process may.
        return self._fresh.pop(job_id, _UNKNOWN) is not _UNKNOWN

    def ended(self, job: JobRecord, output: JobOutput) -> None:
        """Remember a job that has just ended, and tell those who wait for it."""
        self._recent[job.id] = (job, output)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        self._live.notify(job.id)

    def forget(self) -> None:
        """Forget what was remembered of ended jobs: rows may have been deleted."""
        self._recent.clear()

    async def output(self, job: JobRecord) -> JobOutput:
        """Return the beginnings of what a job wrote; empty until it has ended."""
        if job.id in self._recent:
            return self._recent[job.id][1]
        async with self._db.reading() as connection:
            row = (await connection.execute(select(results).where(results.c.job_id == job.id))).mappings().first()
        if row is None:
            return output_of(job, b"", b"")
        compiled = row["compile"] and {**row["compile"], **(row["compile_output"] or {})}
        if row["log"] is None:
            return output_of(job, row["stdout"] or b"", row["stderr"] or b"", compiled)
        streams = {"stdout": bytearray(), "stderr": bytearray()}
        for record in LogParser(Position(row["attempt"], 0)).feed(row["log"]):
            streams[record.stream] += record.data
        return output_of(job, bytes(streams["stdout"]), bytes(streams["stderr"]), compiled)

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return how a job's attempts ended, first one first."""
        columns = [attempts.c[name] for name in ("attempt", "worker_id", "claimed_at", "ended_at", "outcome", "message")]
        statement = select(*columns).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
        async with self._db.reading() as connection:
            return [AttemptRecord(*row) for row in await connection.execute(statement)]

    async def counts(self) -> Sequence[tuple[str, str, int]]:
        """Return how many jobs there are, by status and runtime."""
        statement = select(jobs.c.status, jobs.c.runtime, func.count()).group_by(jobs.c.status, jobs.c.runtime)
        async with self._db.reading() as connection:
            return [(status, runtime, count) for status, runtime, count in await connection.execute(statement)]

    # -- ending ----------------------------------------------------------------------------------------------

    async def cancel(self, key: KeyRecord, job_id: str) -> JobRecord:
        """Cancel a job: one that waits never starts, one that runs is ended soon. Repeating is harmless.

        Raises:
            NotFound: This key has no such job.
            Conflict: It has ended otherwise.
        """
        await self.get(key, job_id)
        if (done := await self.end_queued(job_id)) is not None:
            return done
        async with self._db.writing() as connection:
            active = and_(jobs.c.id == job_id, jobs.c.status.in_(("queued", "running")))
            await connection.execute(update(jobs).where(active, jobs.c.cancel_at.is_(None)).values(cancel_at=now_us()))
            job = await _required(connection, job_id)
        if job.status == "queued":
            # It was handed back at this very moment.
            return await self.end_queued(job_id) or await self.get(key, job_id)
        if job.terminal and job.status != "cancelled":
            raise Conflict(f"the job has ended already: {job.status}")
        if not job.terminal:
            self._live.cancel(job_id)
        return job

    async def end_queued(self, job_id: str) -> JobRecord | None:
        """Cancel a job that waits; None when it does not wait any more."""
        outcome = Outcome(status="cancelled", reason="cancelled", message="cancelled while it waited")
        async with self._db.writing() as connection:
            finished = await finish_queued(connection, job_id, outcome)
        if finished is None:
            return None
        self.ended(finished.job, output_of(finished.job, b"", b""))
        self._told(finished)
        return finished.job

    async def delete(self, key: KeyRecord, job_id: str) -> None:
        """Delete a job that has ended, with its log and its artifacts. Raises `NotFound`, or `Conflict` while it has not."""
        job = await self.get(key, job_id)
        if not job.terminal:
            raise Conflict("the job has not ended; cancel it first")
        self._recent.pop(job_id, None)
        async with self._db.writing() as connection:
            logs = select(results.c.log_key).where(results.c.job_id == job_id, results.c.log_key.is_not(None))
            kept = select(artifacts.c.blob_key).where(artifacts.c.job_id == job_id)
            blob_keys = [*(await connection.execute(logs)).scalars(), *(await connection.execute(kept)).scalars()]
            for table in (artifacts, results, attempts, idempotency):
                await connection.execute(delete(table).where(table.c.job_id == job_id))
            await connection.execute(delete(jobs).where(jobs.c.id == job_id))
        if blob_keys:
            await self._blobs.delete(blob_keys)


def output_of(job: JobRecord, stdout: bytes, stderr: bytes, compiled: dict[str, Any] | None = None) -> JobOutput:
    """Return the beginnings of what a job wrote, cut to what a result shows."""
    stdout, stderr = stdout[:HEAD], stderr[:HEAD]
    return JobOutput(stdout, stderr, len(stdout) < job.stdout_bytes, len(stderr) < job.stderr_bytes, compiled)


async def _select(connection: AsyncConnection, job_id: str) -> JobRecord | None:
    row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).mappings().first()
    return None if row is None else JobRecord.from_row(row)


async def _required(connection: AsyncConnection, job_id: str) -> JobRecord:
    job = await _select(connection, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id[:64]!r}")
    return job


def _has_label(label: tuple[str, str]) -> ColumnElement[bool]:
    name, value = label
    return cast(jobs.c.labels[name].as_string(), String) == literal(value)
