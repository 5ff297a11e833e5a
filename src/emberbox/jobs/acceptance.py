"""Taking jobs in. What is submitted at the same moment is written in one transaction: each waits for that one alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError

from emberbox.errors import Conflict, EmberboxError, IdempotencyMismatch, NotFound, QuotaExceeded
from emberbox.ids import new_id
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord, JobSpec
from emberbox.store.tables import idempotency, jobs
from emberbox.store.usage import cpu_s_today

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.jobs.quota import Quotas
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord

BATCH = 100
RECOUNT_S = 1.0
"""A key's waiting jobs are counted again after this long, in case another process took some in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """What is to be run, checked and stored; see `JobRecord` for the fields."""

    runtime: str
    entry: str
    content_sha: str
    files_sha: str | None = None
    stdin_sha: str | None = None
    spec: JobSpec
    labels: dict[str, str]
    webhook: dict[str, Any] | None = None
    priority: int = 0
    name: str | None = None
    script_id: str | None = None
    rerun_of: str | None = None


@dataclass(slots=True)
class _Request:
    key: KeyRecord
    order: JobOrder
    name: tuple[str, str] | None
    """Idempotency-Key and hash of the request."""
    answer: asyncio.Future[tuple[JobRecord, bool]]


@dataclass(slots=True)
class _Waiting:
    """How many jobs of a key wait, at most, as far as this process knows."""

    counted: float
    count: int


_log = logging.getLogger(__name__)


class Acceptance:
    """Writes new jobs.

    Args:
        db: Where to.
        quotas: What each key may use.
    """

    def __init__(self, db: Database, quotas: Quotas) -> None:
        self._db = db
        self._quotas = quotas
        self._pending: list[_Request] = []
        self._waiting: dict[str, _Waiting] = {}
        self._writer: asyncio.Task[None] | None = None

    async def accept(self, key: KeyRecord, order: JobOrder, name: tuple[str, str] | None) -> tuple[JobRecord, bool]:
        """Write a job, together with those that come at the same moment.

        Args:
            key: Whose job it is.
            order: What to run.
            name: The request's Idempotency-Key and a hash of the request; None without.

        Returns:
            The job, and whether it is new.

        Raises:
            IdempotencyMismatch, QuotaExceeded, StoreError, NoSpace: Nothing was accepted.
        """
        request = _Request(key, order, name, asyncio.get_running_loop().create_future())
        self._pending.append(request)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all(), name="accept-jobs")
        # The caller may go away; the job is accepted all the same.
        return await asyncio.shield(request.answer)

    async def earlier(self, key: KeyRecord, name: tuple[str, str]) -> JobRecord | None:
        """Return the job that an Idempotency-Key stands for; None when there is none. Raises `IdempotencyMismatch`."""
        request_name, request_hash = name
        async with self._db.reading() as connection:
            found = (await connection.execute(_NAMED, {"key_id": key.id, "names": [request_name]})).first()
            if found is None:
                return None
            if found.request_hash != request_hash:
                raise _mismatch()
            row = (await connection.execute(select(jobs).where(jobs.c.id == found.job_id))).mappings().first()
        return None if row is None else JobRecord.from_row(row)

    async def settle(self) -> None:
        """Wait until everything that was submitted is written."""
        if self._writer is not None:
            await asyncio.wait({self._writer})

    async def _write_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            try:
                answers = await self._write_or_part(batch)
            except BaseException as error:
                for request in batch:
                    _answer(request, error)
                if not isinstance(error, Exception):
                    raise
            else:
                for request, answer in zip(batch, answers, strict=True):
                    _answer(request, answer)

    async def _write_or_part(self, batch: list[_Request]) -> list[tuple[JobRecord, bool] | EmberboxError]:
        """Write the batch; one of them that cannot be written does not hold up the others."""
        try:
            return await self._write(batch)
        except IntegrityError:
            return [await self._write_one(request) for request in batch]

    async def _write_one(self, request: _Request) -> tuple[JobRecord, bool] | EmberboxError:
        # The first failure may be the same Idempotency-Key, which came in at the same moment in another process.
        for _ in range(2):
            try:
                return (await self._write([request]))[0]
            except IntegrityError as error:
                _log.info("a job could not be written: %s", error.orig, extra={"action": "job.refused"})
        return Conflict("what the job is made of was deleted meanwhile; send it again")

    async def _write(self, batch: list[_Request]) -> list[tuple[JobRecord, bool] | EmberboxError]:
        return await self._db.write(lambda connection: _Batch(connection, self._quotas, self._waiting, now_us()).write(batch))


class _Batch:
    """One transaction."""

    def __init__(self, connection: AsyncConnection, quotas: Quotas, waiting: dict[str, _Waiting], now: int) -> None:
        self._connection = connection
        self._quotas = quotas
        self._waiting = waiting
        self._now = now
        self._named: dict[tuple[str, str], tuple[str, str]] = {}
        self._made: dict[str, JobRecord] = {}
        self._refusals: dict[str, QuotaExceeded | None] = {}

    async def write(self, batch: list[_Request]) -> list[tuple[JobRecord, bool] | EmberboxError]:
        await self._read_names(batch)
        places = await self._places({(request.key.id, request.order.priority) for request in batch})
        answers: list[tuple[JobRecord, bool] | EmberboxError] = []
        rows, names = [], []
        for request in batch:
            try:
                if (earlier := await self._earlier(request)) is not None:
                    answers.append((earlier, False))
                    continue
                await self._check(request.key)
            except EmberboxError as error:
                answers.append(error)
                continue
            row = new_row(request.key, request.order, self._now)
            places[request.key.id, request.order.priority] += 1
            row["fair_order"] = places[request.key.id, request.order.priority]
            rows.append(row)
            if request.name is not None:
                names.append(_name_row(request, row["id"], self._now))
                self._named[request.key.id, request.name[0]] = (request.name[1], row["id"])
            self._made[row["id"]] = job = _record(row, request.order)
            answers.append((job, True))
        if rows:
            await self._connection.execute(insert(jobs), rows)
        if names:
            await self._connection.execute(insert(idempotency), names)
        return answers

    async def _read_names(self, batch: list[_Request]) -> None:
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for request in batch:
            if request.name is not None:
                wanted[request.key.id].append(request.name[0])
        for key_id, named in wanted.items():
            for row in await self._connection.execute(_NAMED, {"key_id": key_id, "names": named}):
                self._named[key_id, row.idempotency_key] = (row.request_hash, row.job_id)

    async def _earlier(self, request: _Request) -> JobRecord | None:
        """Return the job that the request's name stands for already."""
        if request.name is None or (found := self._named.get((request.key.id, request.name[0]))) is None:
            return None
        request_hash, job_id = found
        if request_hash != request.name[1]:
            raise _mismatch()
        if job_id in self._made:
            return self._made[job_id]
        row = (await self._connection.execute(select(jobs).where(jobs.c.id == job_id))).mappings().first()
        if row is None:
            raise NotFound("the job of the earlier request with this Idempotency-Key was deleted")
        return JobRecord.from_row(row)

    async def _places(self, of: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return, for keys and priorities, the place behind which the next job goes.

        That is the key's latest of this priority, and not before the job that began last. Each priority has places of its own.
        """
        places = {}
        for key_id, priority in of:
            values = {"key_id": key_id, "priority": priority}
            started, first, latest = (await self._connection.execute(_PLACE, values)).one()
            places[key_id, priority] = max(started if started is not None else (first or 1) - 1, latest or 0)
        return places

    async def _check(self, key: KeyRecord) -> None:
        """Count one more job against what the key may use. Raises `QuotaExceeded`."""
        if bound := self._quotas.of(key, "queued_jobs"):
            waiting = self._waiting.get(key.id)
            if waiting is None or waiting.count >= bound or time.monotonic() - waiting.counted > RECOUNT_S:
                count = (await self._connection.execute(_WAITING, {"key_id": key.id})).scalar_one()
                mine = sum(job.key_id == key.id for job in self._made.values())
                waiting = self._waiting[key.id] = _Waiting(time.monotonic(), count + mine)
            if waiting.count >= bound:
                raise QuotaExceeded(
                    f"{waiting.count} jobs of this key wait already, as many as may; wait until some of them have run"
                )
            waiting.count += 1
        if bound := self._quotas.of(key, "cpu_s_day"):
            used = await cpu_s_today(self._connection, key.id, datetime.now(UTC).date().isoformat())
            if used >= bound:
                raise QuotaExceeded(f"this key has used {used:.0f} CPU seconds today (UTC); its share is {bound:.0f}")


_NAMED = select(idempotency.c.idempotency_key, idempotency.c.request_hash, idempotency.c.job_id).where(
    idempotency.c.key_id == bindparam("key_id"), idempotency.c.idempotency_key.in_(bindparam("names", expanding=True))
)


def _one(place: ColumnElement[int], status: str, *more: ColumnElement[bool]) -> ColumnElement[int]:
    # One place each: an index has it at its end, however many jobs wait.
    return select(place).where(jobs.c.status == status, jobs.c.priority == bindparam("priority"), *more).scalar_subquery()


_PLACE = select(
    _one(func.max(jobs.c.fair_order), "running"),
    _one(func.min(jobs.c.fair_order), "queued"),
    _one(func.max(jobs.c.fair_order), "queued", jobs.c.key_id == bindparam("key_id")),
)
_WAITING = select(func.count()).where(jobs.c.key_id == bindparam("key_id"), jobs.c.status == "queued")


def _mismatch() -> IdempotencyMismatch:
    return IdempotencyMismatch("this Idempotency-Key was used for another request; use a new one for each request")


def _answer(request: _Request, answer: tuple[JobRecord, bool] | BaseException) -> None:
    if request.answer.done():
        return
    if isinstance(answer, asyncio.CancelledError):
        request.answer.cancel()
    elif isinstance(answer, BaseException):
        request.answer.set_exception(answer)
        request.answer.exception()  # looked at, so that nothing is logged when the caller has gone
    else:
        request.answer.set_result(answer)


def new_row(key: KeyRecord, order: JobOrder, now: int) -> dict[str, Any]:
    """Return the row of a job that is about to wait, but for its place in the queue."""
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    row.update(
        id=new_id("job"),
        key_id=key.id,
        script_id=order.script_id,
        rerun_of=order.rerun_of,
        name=order.name,
        runtime=order.runtime,
        entry=order.entry,
        content_sha=order.content_sha,
        files_sha=order.files_sha,
        stdin_sha=order.stdin_sha,
        spec=order.spec.to_json(),
        labels=order.labels,
        webhook=order.webhook,
        priority=order.priority,
        status="queued",
        attempt=0,
        failures=0,
        losses=0,
        available_at=now,
        created_at=now,
        stdout_bytes=0,
        stderr_bytes=0,
        storage_bytes=0,
    )
    return row


_COLUMNS = tuple(column.name for column in jobs.c)


def _record(row: dict[str, Any], order: JobOrder) -> JobRecord:
    return JobRecord(**{**row, "spec": order.spec})


def _name_row(request: _Request, job_id: str, now: int) -> dict[str, Any]:
    name, request_hash = request.name or ("", "")
    return {
        "key_id": request.key.id,
        "idempotency_key": name,
        "request_hash": request_hash,
        "job_id": job_id,
        "created_at": now,
    }
