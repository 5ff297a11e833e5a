"""Submitting jobs: what may come in is written, and the queue is told of it.

What is submitted at the same moment is written in one transaction: each waits for that one alone.
A job's row and the contents that come with it are written together, or neither is. Only what is too
large for a row goes to the blob store before; a job that has such a part is checked before that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from emberbox.errors import Conflict, EmberboxError, IdempotencyMismatch
from emberbox.service.jobs.rows import find_job
from emberbox.service.jobs.submitting.batch import NAMED, Answer, Batch, Request, check_same
from emberbox.service.jobs.submitting.line import Line
from emberbox.service.jobs.submitting.order import JobOrder
from emberbox.service.ownership import check_own
from emberbox.service.uploads.contents import INLINE_BYTES
from emberbox.tasks import TaskKeeper, shielded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.accounts.reservations import Reservations
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.secrets.vault import Vault
    from emberbox.service.uploads.contents import Contents, NewContent
    from emberbox.service.uploads.heavy import HeavyTurns
    from emberbox.store.database import Database
    from emberbox.store.records import JobRecord, KeyRecord

BATCH = 100
"""Most jobs of one transaction."""

_log = logging.getLogger(__name__)


class Submission:
    """The way in for jobs.

    Args:
        db: Their rows.
        queue: Gives them their places, and is told of new ones.
        quotas: What each team and key may use.
        contents: Takes what jobs are made of.
        reservations: Promises of room for what is too large for a row.
        vault: Seals jobs' secrets.
        heavy: Teams' turns at storing what is large.
        check_ready: Called before a job is accepted; raises what speaks against it.
        accepted: Called with each new job.
    """

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        quotas: Quotas,
        contents: Contents,
        reservations: Reservations,
        vault: Vault,
        heavy: HeavyTurns,
        *,
        check_ready: Callable[[], None],
        accepted: Callable[[JobRecord], None],
    ) -> None:
        self._db = db
        self._queue = queue
        self._quotas = quotas
        self._contents = contents
        self._reservations = reservations
        self._vault = vault
        self._heavy = heavy
        self._check_ready = check_ready
        self._accepted = accepted
        self._pending: list[Request] = []
        self._line = Line(queue, quotas)
        self._writer = TaskKeeper()
        self._writing = False

    async def submit(
        self, key: KeyRecord, order: JobOrder, *, idempotency: tuple[str, str] | None = None
    ) -> tuple[JobRecord, bool]:
        """Accept a job: once this returns it will be run, whatever befalls the service.

        Args:
            key: Who submits it; its team owns the job.
            order: What to run.
            idempotency: The request's Idempotency-Key and a hash of the request; None without.

        Returns:
            The job, and whether it is new; False for the job of an earlier request with the same
            Idempotency-Key.

        Raises:
            IdempotencyMismatch: That earlier request was another one.
            QuotaExceeded, SecretsUnavailable, StoreError, NoSpace, ServiceStopping: Nothing was accepted.
        """
        try:
            self._check_ready()
            self._quotas.learn(key)
        except EmberboxError:
            if idempotency and (earlier := await self._earlier(key, idempotency)) is not None:
                return earlier, False
            raise
        if any(plan.size > INLINE_BYTES for plan in order.plans):
            job, new = await self._submit_large(key, order, idempotency)
        else:
            job, new = await self._submit_prepared(key, order, idempotency)
        if new:
            self._accepted(job)
            await self._queue.put([job])
        return job, new

    async def _submit_large(
        self, key: KeyRecord, order: JobOrder, idempotency: tuple[str, str] | None
    ) -> tuple[JobRecord, bool]:
        """Check a job before its large parts are stored, with the room for them promised."""
        request = self._request(key, order, idempotency, [])

        async def look(connection: AsyncConnection) -> tuple[tuple[JobRecord, bool] | None, int]:
            batch = self._batch(connection)
            return await batch.check(request), batch.new_bytes(request)

        with self._reservations.begin(self._quotas.shares(key, "storage_bytes")) as room:
            await room.look()
            earlier, size = await self._db.write(look)
            if earlier is not None:
                return earlier
            room.keep(size)
            written = sum(plan.size for plan in order.plans)
            room.write(written)
            async with self._heavy.for_bytes(key.team_id, written):
                return await self._submit_prepared(key, order, idempotency)

    async def _submit_prepared(
        self, key: KeyRecord, order: JobOrder, idempotency: tuple[str, str] | None
    ) -> tuple[JobRecord, bool]:
        async def once() -> tuple[JobRecord, bool]:
            async with self._contents.prepared(order.plans) as contents:
                return await self._written(self._request(key, order, idempotency, contents))

        try:
            return await once()
        except IdempotencyMismatch:
            raise
        except Conflict:
            if not order.plans:
                raise
            # What was stored already was deleted at this moment: it comes with this job as well.
            return await once()

    def _request(
        self,
        key: KeyRecord,
        order: JobOrder,
        idempotency: tuple[str, str] | None,
        contents: list[NewContent],
    ) -> Request:
        answer = asyncio.get_running_loop().create_future()
        return Request(key, order, idempotency, answer, contents)

    async def _written(self, request: Request) -> tuple[JobRecord, bool]:
        self._pending.append(request)
        if not self._writing:
            self._writing = True
            self._writer.start(self._write_all(), "accept-jobs")
        # The caller may go away; the job is accepted all the same.
        return await shielded(request.answer)

    async def rerun(self, key: KeyRecord, job: JobRecord) -> JobRecord:
        """Submit the same job again.

        Raises as `submit` does, `NotAllowed` for another team's, and `SecretsUnavailable`.
        """
        check_own(key, job)
        return (await self.submit(key, JobOrder.again(job, self._vault)))[0]

    async def settle(self) -> None:
        """Wait until everything that was submitted is written."""
        await self._writer.settle()

    async def _earlier(self, key: KeyRecord, idempotency: tuple[str, str]) -> JobRecord | None:
        """Return the job that an Idempotency-Key stands for; None when there is none.

        Raises `IdempotencyMismatch`.
        """
        idempotency_key, request_hash = idempotency
        found = await self._db.row(NAMED, {"key_id": key.id, "idempotency_keys": [idempotency_key]})
        if found is None:
            return None
        check_same(found["request_hash"], request_hash)
        return await self._db.read(lambda connection: find_job(connection, found["job_id"]))

    async def _write_all(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                await self._write_batch(batch)
        finally:
            self._writing = False

    async def _write_batch(self, batch: list[Request]) -> None:
        try:
            answers = await self._write_or_part(batch)
        except BaseException as error:
            for request in batch:
                request.settle(error)
            if not isinstance(error, Exception):
                raise
        else:
            for request, answer in zip(batch, answers, strict=True):
                request.settle(answer)

    async def _write_or_part(self, batch: list[Request]) -> list[Answer]:
        """Write the batch; one of them that cannot be written does not hold up the others."""
        try:
            return await self._write(batch)
        except IntegrityError:
            return [await self._write_one(request) for request in batch]

    async def _write_one(self, request: Request) -> Answer:
        # The first failure may be the same Idempotency-Key, which came in at the same moment in
        # another process.
        for _ in range(2):
            try:
                return (await self._write([request]))[0]
            except IntegrityError as error:
                _log.info("a job could not be written: %s", error.orig, extra={"action": "job.refused"})
        return Conflict("what the job is made of was deleted meanwhile; send it again")

    async def _write(self, requests: list[Request]) -> list[Answer]:
        def write(connection: AsyncConnection) -> Awaitable[list[Answer]]:
            return self._batch(connection).write(requests)

        return await self._db.write(write)

    def _batch(self, connection: AsyncConnection) -> Batch:
        return Batch(connection, self._queue, self._quotas, self._line, self._vault)
