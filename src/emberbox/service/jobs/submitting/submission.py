"""Submitting jobs: what may come in is accepted, and the queue is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError
from emberbox.service.jobs.submitting.acceptance import Acceptance
from emberbox.service.jobs.submitting.order import JobOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store import Database
    from emberbox.store.records import JobRecord, KeyRecord


class Submission:
    """The way in for jobs.

    Args:
        db: Their rows.
        queue: Is told of new ones.
        quotas: What each key may use.
        check_ready: Called before a job is accepted; raises what speaks against it.
        accepted: Called with each new job.
    """

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        quotas: Quotas,
        *,
        check_ready: Callable[[], None],
        accepted: Callable[[JobRecord], None],
    ) -> None:
        self._queue = queue
        self._quotas = quotas
        self._acceptance = Acceptance(db, queue, quotas)
        self._check_ready = check_ready
        self._accepted = accepted

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
            QuotaExceeded, NoSpace, ServiceStopping: Nothing was accepted.
        """
        try:
            self._check_ready()
            self._quotas.learn(key)
            await self._quotas.check_storage(key)
        except EmberboxError:
            if idempotency and (earlier := await self._acceptance.earlier(key, idempotency)) is not None:
                return earlier, False
            raise
        job, new = await self._acceptance.accept(key, order, idempotency)
        if new:
            self._accepted(job)
            await self._queue.put([job])
        return job, new

    async def rerun(self, key: KeyRecord, job: JobRecord) -> JobRecord:
        """Submit the same job again. Raises as `submit` does."""
        return (await self.submit(key, JobOrder.again(job)))[0]

    async def settle(self) -> None:
        """Wait until everything that was submitted is written."""
        await self._acceptance.settle()
