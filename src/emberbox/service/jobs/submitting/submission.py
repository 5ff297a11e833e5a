"""Submitting jobs: what may come in is written, and the queue is told of it.

What is submitted at the same moment is written in one transaction: each waits for that one alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from emberbox.errors import Conflict, EmberboxError
from emberbox.service.jobs.rows import find_job
from emberbox.service.jobs.submitting.batch import NAMED, Answer, Batch, Request, Waiting, check_same
from emberbox.service.jobs.submitting.order import JobOrder
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.secrets.vault import Vault
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
        quotas: What each key may use.
        vault: Seals jobs' secrets.
        check_ready: Called before a job is accepted; raises what speaks against it.
        accepted: Called with each new job.
    """

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        quotas: Quotas,
        vault: Vault,
        *,
        check_ready: Callable[[], None],
        accepted: Callable[[JobRecord], None],
    ) -> None:
        self._db = db
        self._queue = queue
        self._quotas = quotas
        self._vault = vault
        self._check_ready = check_ready
        self._accepted = accepted
        self._pending: list[Request] = []
        self._waiting: dict[str, Waiting] = {}
        self._writer = TaskKeeper()
        self._writing = False

    async def submit(
        self, key: KeyRecord, order: JobOrder, *, idempotency: tuple[str, str] | None = None
    ) -> tuple[JobRecord, bool]:
        """Accept a job: once this returns it will be run, whatever befalls the service.

        Args:
            key: Whose job it is.
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
            await self._quotas.check_storage(key)
        except EmberboxError:
            if idempotency and (earlier := await self._earlier(key, idempotency)) is not None:
                return earlier, False
            raise
        request = Request(key, order, idempotency, asyncio.get_running_loop().create_future())
        self._pending.append(request)
        if not self._writing:
            self._writing = True
            self._writer.start(self._write_all(), "accept-jobs")
        # The caller may go away; the job is accepted all the same.
        job, new = await asyncio.shield(request.answer)
        if new:
            self._accepted(job)
            await self._queue.put([job])
        return job, new

    async def rerun(self, key: KeyRecord, job: JobRecord) -> JobRecord:
        """Submit the same job again. Raises as `submit` does, and `SecretsUnavailable`."""
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
            return Batch(connection, self._queue, self._quotas, self._waiting, self._vault).write(requests)

        return await self._db.write(write)
