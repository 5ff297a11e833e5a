"""New jobs that are written in one transaction."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, bindparam, insert, select

from emberbox.errors import EmberboxError, IdempotencyMismatch, NotAllowed, NotFound, QuotaExceeded
from emberbox.service.accounts.holdings import Ledger
from emberbox.service.accounts.usage import cpu_s_today
from emberbox.service.jobs.rows import find_job
from emberbox.service.jobs.submitting.order import JobOrder, new_row
from emberbox.service.uploads.contents import NewContent, insert_contents
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord, KeyRecord
from emberbox.store.tables import idempotency, jobs, keys

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.jobs.queue.base import JobQueue, Places
    from emberbox.service.jobs.submitting.line import Line
    from emberbox.service.secrets.vault import Vault

NAMED: Select[tuple[str, str, str]] = select(
    idempotency.c.idempotency_key, idempotency.c.request_hash, idempotency.c.job_id
).where(
    idempotency.c.key_id == bindparam("key_id"),
    idempotency.c.idempotency_key.in_(bindparam("idempotency_keys", expanding=True)),
)
"""The jobs for which `idempotency_keys` of the API key `key_id` stand, and what was asked for then."""

_KEYS = (
    select(keys.c.id, keys.c.revoked_at, keys.c.suspended_at)
    .where(keys.c.id.in_(bindparam("key_ids", expanding=True)))
    .with_for_update(read=True)
)
Answer = tuple[JobRecord, bool] | EmberboxError
"""The job and whether it is new, or why it was refused."""


@dataclass(slots=True)
class Request:
    """One order that waits to be written.

    `idempotency` holds the Idempotency-Key and the hash of the request; `contents` what is stored with it.
    """

    key: KeyRecord
    order: JobOrder
    idempotency: tuple[str, str] | None
    answer: asyncio.Future[tuple[JobRecord, bool]]
    contents: list[NewContent]

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


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Bytes of a job: of its row, and of the contents that it refers to, by digest."""

    row: int
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All that the job waits with."""
        return self.row + sum(self.parts.values())


class Batch:
    """One transaction.

    Args:
        connection: Its connection.
        queue: Gives new jobs their places.
        quotas: What each team and key may use.
        line: Whether one more job may wait; kept up to date.
        vault: Seals their secrets.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        queue: JobQueue,
        quotas: Quotas,
        line: Line,
        vault: Vault,
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._quotas = quotas
        self._line = line
        self._ledger = Ledger(connection)
        self._vault = vault
        self._now = now_us()
        self._ended: set[str] = set()
        self._named: dict[tuple[str, str], tuple[str, str]] = {}
        self._rows: list[dict[str, Any]] = []
        self._idempotency_rows: list[dict[str, Any]] = []
        self._made: dict[str, JobRecord] = {}
        self._contents: dict[str, NewContent] = {}

    async def write(self, requests: list[Request]) -> list[Answer]:
        """Write those that may be accepted, with their contents; returns an answer to each request."""
        await self._read(requests)
        wanted = {(request.key.team_id, self._precedence(request)) for request in requests}
        places = await self._queue.places(self._connection, wanted)
        answers = [await self._answer(request, places) for request in requests]
        if self._rows:
            await insert_contents(self._connection, list(self._contents.values()))
            await self._connection.execute(insert(jobs), self._rows)
            await self._ledger.write()
        if self._idempotency_rows:
            await self._connection.execute(insert(idempotency), self._idempotency_rows)
        return answers

    async def check(self, request: Request) -> tuple[JobRecord, bool] | None:
        """Return the earlier job that a request stands for; None where it may be written as things are.

        Raises what speaks against it. Nothing is written.
        """
        await self._read([request])
        return await self._checked(request, self._sizes(request.order))

    def new_bytes(self, request: Request) -> int:
        """Return how many bytes a request that was checked would add to what its team stores."""
        sizes = self._sizes(request.order)
        return sizes.row + self._ledger.new_bytes(request.key.team_id, sizes.parts)

    async def _read(self, requests: list[Request]) -> None:
        await self._read_names(requests)
        await self._read_ended_keys(requests)
        digests = {digest for request in requests for digest in request.order.digests}
        owners = {owner for request in requests for owner in (request.key.team_id, request.key.id)}
        await self._ledger.open(owners, digests)

    def _precedence(self, request: Request) -> int:
        return self._quotas.precedence(request.key, request.order.priority)

    def _sizes(self, order: JobOrder) -> _Sizes:
        planned = {plan.sha256: plan.size for plan in order.plans}
        stored = {digest: self._ledger.size(digest) for digest in order.digests}
        return _Sizes(order.row_bytes, stored | planned)

    async def _answer(self, request: Request, places: Places) -> Answer:
        sizes = self._sizes(request.order)
        try:
            earlier = await self._checked(request, sizes)
            return earlier or (self._add(request, places, sizes), True)
        except EmberboxError as error:
            return error

    async def _checked(self, request: Request, sizes: _Sizes) -> tuple[JobRecord, bool] | None:
        if (earlier := await self._earlier(request)) is not None:
            return earlier, False
        key = request.key
        self._check_key(key)
        await self._line.check(self._connection, key, sizes.total, self._made.values())
        await self._check_cpu(key)
        self._ledger.check(self._quotas.shares(key, "storage_bytes"), sizes.parts, sizes.row)
        return None

    def _add(self, request: Request, places: Places, sizes: _Sizes) -> JobRecord:
        key, order, precedence = request.key, request.order, self._precedence(request)
        row = new_row(key, order, self._now, self._vault) | {
            "precedence": precedence,
            "fair_order": places(key.team_id, precedence),
            "input_bytes": sizes.total,
            "storage_bytes": sizes.row,
        }
        self._made[row["id"]] = job = JobRecord.from_row(row)
        self._line.add(job)
        self._ledger.add(job, sizes.parts, order.digests, sizes.row)
        new = (content for content in request.contents if not self._ledger.knows(content.plan.sha256))
        self._contents.update({content.plan.sha256: content for content in new})
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

    async def _read_ended_keys(self, requests: list[Request]) -> None:
        """Note which keys were revoked or suspended meanwhile.

        Their rows are held until the transaction ends: who revokes a key afterwards sees its jobs.
        """
        values = {"key_ids": list({request.key.id for request in requests})}
        for row in await self._connection.execute(_KEYS, values):
            if row.revoked_at is not None or row.suspended_at is not None:
                self._ended.add(row.id)

    def _check_key(self, key: KeyRecord) -> None:
        if key.id in self._ended:
            raise NotAllowed("this key was revoked or suspended just now; no job of it is accepted any more")

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

    async def _check_cpu(self, key: KeyRecord) -> None:
        """Raise `QuotaExceeded` when the team or the key has used its CPU time of today."""
        now = datetime.now(UTC)
        for share in self._quotas.shares(key, "cpu_s_day"):
            used = await cpu_s_today(self._connection, share, now.date().isoformat())
            if used >= share.bound:
                midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
                raise QuotaExceeded(
                    f"this {share.whose} has used {used:.0f} CPU seconds today (UTC); "
                    f"its share is {share.bound:.0f}. Come back tomorrow, or ask for more (cpu_s_day)",
                    retry_after_s=(midnight - now).total_seconds(),
                )


def check_same(earlier_hash: str, request_hash: str) -> None:
    """Raise `IdempotencyMismatch` unless an earlier request with the same key was the same one."""
    if earlier_hash != request_hash:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used for another request; use a new one for each request"
        )
