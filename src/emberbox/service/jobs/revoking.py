"""The end of a key, and what becomes of the jobs that it submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.service.jobs.queue.base import CancelRequests

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.keys import Keys
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.endings import Endings
    from emberbox.service.jobs.running.live import LiveJobs
    from emberbox.store.records import KeyRecord
    from emberbox.tasks import TaskKeeper

AT_ONCE = 100
"""Waiting jobs whose ends are written before the answer; those of more follow in the background."""


class Revocations:
    """Ends keys for good, together with their jobs.

    Args:
        keys: The keys.
        queue: Is told of the jobs to be cancelled, in the transaction that ends the key.
        endings: Writes the ends of those that wait.
        live: Those that run here.
        keeper: Owns what is done in the background.
    """

    def __init__(
        self, keys: Keys, queue: JobQueue, endings: Endings, live: LiveJobs, keeper: TaskKeeper
    ) -> None:
        self._keys = keys
        self._queue = queue
        self._endings = endings
        self._live = live
        self._keeper = keeper

    async def revoke(
        self, key_id: str, *, by: KeyRecord | None = None, keep_running: bool = False
    ) -> KeyRecord:
        """End a key, and cancel its jobs that wait: none of them starts once the key is revoked.

        Safe to repeat. What a crash leaves undone, workers do at their next heartbeat.

        Args:
            key_id: Of the key.
            by: Whoever does it; None for the service itself.
            keep_running: Let its running jobs go on for their team, which they belong to; else they
                are ended as well.

        Raises:
            NotFound, NotAllowed, Conflict: As of `Keys.revoke`; nothing was changed.
        """
        asked = CancelRequests()

        async def cancel(connection: AsyncConnection) -> None:
            nonlocal asked
            asked = await self._queue.request_cancel_of(connection, key_id, running=not keep_running)

        record = await self._keys.revoke(key_id, by=by, also=cancel)
        for job_id in asked.held:
            self._live.cancel_here(job_id)
        await self._endings.end_all_queued(asked.queued[:AT_ONCE])
        if rest := asked.queued[AT_ONCE:]:
            self._keeper.start(self._endings.end_all_queued(rest), f"cancel-jobs-of-{key_id}")
        return record
