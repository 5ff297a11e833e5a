"""Taking jobs in.

What is submitted at the same moment is written in one transaction: each waits for that one alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from emberbox.errors import Conflict
from emberbox.service.jobs.rows import find_job
from emberbox.service.jobs.submitting.batch import Answer, Batch, Request, Waiting
from emberbox.service.jobs.submitting.idempotency import NAMED, check_same
from emberbox.store.database import now_us
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.submitting.order import JobOrder
    from emberbox.store import Database
    from emberbox.store.records import JobRecord, KeyRecord

BATCH = 100
"""Most jobs of one transaction."""

_log = logging.getLogger(__name__)


class Acceptance:
    """Writes new jobs.

    Args:
        db: Where to.
        queue: Gives them their places.
        quotas: What each key may use.
    """

    def __init__(self, db: Database, queue: JobQueue, quotas: Quotas) -> None:
        self._db = db
        self._queue = queue
        self._quotas = quotas
        self._pending: list[Request] = []
        self._waiting: dict[str, Waiting] = {}
        self._writer = TaskKeeper()
        self._writing = False

    async def accept(
        self, key: KeyRecord, order: JobOrder, idempotency: tuple[str, str] | None
    ) -> tuple[JobRecord, bool]:
        """Write a job, together with those that come at the same moment.

        Args:
            key: Whose job it is.
            order: What to run.
            idempotency: The request's Idempotency-Key and a hash of the request; None without.

        Returns:
            The job, and whether it is new.

        Raises:
            IdempotencyMismatch, QuotaExceeded, StoreError, NoSpace: Nothing was accepted.
        """
        request = Request(key, order, idempotency, asyncio.get_running_loop().create_future())
        self._pending.append(request)
        if not self._writing:
            self._writing = True
            self._writer.start(self._write_all(), "accept-jobs")
        # The caller may go away; the job is accepted all the same.
        return await asyncio.shield(request.answer)

    async def earlier(self, key: KeyRecord, idempotency: tuple[str, str]) -> JobRecord | None:
        """Return the job that an Idempotency-Key stands for; None when there is none.

        Raises `IdempotencyMismatch`.
        """
        idempotency_key, request_hash = idempotency
        values = {"key_id": key.id, "idempotency_keys": [idempotency_key]}
        async with self._db.reading() as connection:
            found = (await connection.execute(NAMED, values)).first()
            if found is None:
                return None
            check_same(found.request_hash, request_hash)
            return await find_job(connection, found.job_id)

    async def settle(self) -> None:
        """Wait until everything that was submitted is written."""
        await self._writer.settle()

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
        return await self._db.write(
            lambda connection: Batch(connection, self._queue, self._quotas, self._waiting, now_us()).write(
                requests
            )
        )
