"""New jobs that are written in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, bindparam, insert, select

from emberbox.errors import EmberboxError, IdempotencyMismatch, NotFound, QuotaExceeded
from emberbox.service.accounts.usage import cpu_s_today
from emberbox.service.jobs.rows import find_job
from emberbox.service.jobs.submitting.order import JobOrder, new_row
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord, KeyRecord
from emberbox.store.tables import idempotency, jobs

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.jobs.queue.base import JobQueue, Places
    from emberbox.service.secrets.vault import Vault

RECOUNT_S = 1.0
"""A key's waiting jobs are counted again after this long, in case another process took some in."""

NAMED: Select[tuple[str, str, str]] = select(
    idempotency.c.idempotency_key, idempotency.c.request_hash, idempotency.c.job_id
).where(
    idempotency.c.key_id == bindparam("key_id"),
    idempotency.c.idempotency_key.in_(bindparam("idempotency_keys", expanding=True)),
)
"""The jobs for which `idempotency_keys` of the API key `key_id` stand, and what was asked for then."""

Answer = tuple[JobRecord, bool] | EmberboxError
"""The job and whether it is new, or why it was refused."""


@dataclass(slots=True)
class Request:
    """One order that waits to be written.

    `idempotency` holds the Idempotency-Key and the hash of the request.
    """

    key: KeyRecord
    order: JobOrder
    idempotency: tuple[str, str] | None
    answer: asyncio.Future[tuple[JobRecord, bool]]

    def settle(self, answer: tuple[JobRecord, bool] | BaseException) -> None:
        """Tell the caller what became of it, once."""
        if self.answer.done():
            return
        if isinstance(answer, asyncio.CancelledError):
            self.answer.cancel()
        elif isinstance(answer, BaseException):
            self.answer.set_exception(answer)
            self.answer.exception()  # looked at, so that nothing is logged when the caller has gone
        else:
            self.answer.set_result(answer)


@dataclass(slots=True)
class Waiting:
    """How many jobs of a key wait, at most, as far as this process knows."""

    counted: float
    count: int


class Batch:
    """One transaction.

    Args:
        connection: Its connection.
        queue: Gives new jobs their places.
        quotas: What each key may use.
        waiting: What is known of keys' waiting jobs; kept up to date.
        vault: Seals their secrets.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        queue: JobQueue,
        quotas: Quotas,
        waiting: dict[str, Waiting],
        vault: Vault,
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._quotas = quotas
        self._waiting = waiting
        self._vault = vault
        self._now = now_us()
        self._named: dict[tuple[str, str], tuple[str, str]] = {}
        self._rows: list[dict[str, Any]] = []
        self._idempotency_rows: list[dict[str, Any]] = []
        self._made: dict[str, JobRecord] = {}

    async def write(self, requests: list[Request]) -> list[Answer]:
        """Write those of the requests that may be accepted; returns an answer to each."""
        await self._read_names(requests)
        wanted = {(request.key.id, request.order.priority) for request in requests}
        places = await self._queue.places(self._connection, wanted)
        answers = [await self._answer(request, places) for request in requests]
        if self._rows:
            await self._connection.execute(insert(jobs), self._rows)
        if self._idempotency_rows:
            await self._connection.execute(insert(idempotency), self._idempotency_rows)
        return answers

    async def _answer(self, request: Request, places: Places) -> Answer:
        try:
            if (earlier := await self._earlier(request)) is not None:
                return earlier, False
            await self._check_waiting(request.key)
            await self._check_cpu(request.key)
            return self._add(request, places), True
        except EmberboxError as error:
            return error

    def _add(self, request: Request, places: Places) -> JobRecord:
        key, order = request.key, request.order
        row = new_row(key, order, self._now, self._vault)
        row["fair_order"] = places(key.id, order.priority)
        self._rows.append(row)
        if request.idempotency is not None:
            idempotency_key, request_hash = request.idempotency
            self._named[key.id, idempotency_key] = (request_hash, row["id"])
            self._idempotency_rows.append(
                {
                    "key_id": key.id,
                    "idempotency_key": idempotency_key,
                    "request_hash": request_hash,
                    "job_id": row["id"],
                    "created_at": self._now,
                }
            )
        self._made[row["id"]] = job = JobRecord.from_row(row)
        return job

    async def _read_names(self, requests: list[Request]) -> None:
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for request in requests:
            if request.idempotency is not None:
                wanted[request.key.id].append(request.idempotency[0])
        for key_id, named in wanted.items():
            values = {"key_id": key_id, "idempotency_keys": named}
            for row in await self._connection.execute(NAMED, values):
                self._named[key_id, row.idempotency_key] = (row.request_hash, row.job_id)

    async def _earlier(self, request: Request) -> JobRecord | None:
        """Return the job that the request's Idempotency-Key stands for already."""
        if request.idempotency is None:
            return None
        idempotency_key, request_hash = request.idempotency
        if (found := self._named.get((request.key.id, idempotency_key))) is None:
            return None
        check_same(found[0], request_hash)
        if found[1] in self._made:
            return self._made[found[1]]
        if (job := await find_job(self._connection, found[1])) is None:
            raise NotFound("the job of the earlier request with this Idempotency-Key was deleted")
        return job

    async def _check_waiting(self, key: KeyRecord) -> None:
        """Count one more job among those of the key that wait. Raises `QuotaExceeded`."""
        if not (bound := self._quotas.of(key, "queued_jobs")):
            return
        waiting = self._waiting.get(key.id)
        if waiting is None or waiting.count >= bound or time.monotonic() - waiting.counted > RECOUNT_S:
            count = await self._queue.waiting(self._connection, key.id)
            mine = sum(job.key_id == key.id for job in self._made.values())
            waiting = self._waiting[key.id] = Waiting(time.monotonic(), count + mine)
        if waiting.count >= bound:
            raise QuotaExceeded(
                f"{waiting.count} jobs of this key wait already, as many as may; "
                "wait until some of them have run"
            )
        waiting.count += 1

    async def _check_cpu(self, key: KeyRecord) -> None:
        """Raise `QuotaExceeded` when the key has used its CPU time of today."""
        if not (bound := self._quotas.of(key, "cpu_s_day")):
            return
        used = await cpu_s_today(self._connection, key.id, datetime.now(UTC).date().isoformat())
        if used >= bound:
            raise QuotaExceeded(
                f"this key has used {used:.0f} CPU seconds today (UTC); its share is {bound:.0f}"
            )


def check_same(earlier_hash: str, request_hash: str) -> None:
    """Raise `IdempotencyMismatch` unless an earlier request with the same key was the same one."""
    if earlier_hash != request_hash:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used for another request; use a new one for each request"
        )
