"""A worker's leases: its own are renewed, those that ran out are taken back, cancellations are heeded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from emberbox.config import WorkerSettings
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.endings import Endings
    from emberbox.service.jobs.running.live import LiveJobs

_log = logging.getLogger(__name__)

FORGOTTEN_S = 600.0
"""A worker that said nothing for so long is no longer listed."""


class Leases:
    """What one worker holds, and what dead ones held.

    Args:
        worker_id: The worker.
        queue: Leases jobs.
        endings: Writes off what was lost too often, and ends what waits and is cancelled.
        live: Those that run here.
        settings: Lease and losses.
        lost: Called for each attempt that was lost with its worker.
    """

    def __init__(
        self,
        worker_id: str,
        queue: JobQueue,
        endings: Endings,
        live: LiveJobs,
        settings: WorkerSettings,
        *,
        lost: Callable[[], None],
    ) -> None:
        self._worker_id = worker_id
        self._queue = queue
        self._endings = endings
        self._live = live
        self._settings = settings
        self._count_loss = lost

    async def renew(self, job_ids: Collection[str]) -> set[str]:
        """Renew the leases of jobs that run here; returns those of them that the worker has lost."""
        held = await self._queue.renew(self._worker_id, self._settings.lease_s, job_ids)
        await self._queue.workers.seen(self._worker_id, forget_s=FORGOTTEN_S)
        return set(job_ids) - set(held)

    async def heed_cancellations(self) -> None:
        """End jobs whose cancellation was asked for in another process, or while they were handed back."""
        requests = await self._queue.cancel_requests(self._worker_id)
        for job_id in requests.queued:
            await self._endings.end_queued(job_id)
        for job_id in requests.held:
            self._live.cancel(job_id)

    async def reclaim(self, dead: Collection[str] = ()) -> None:
        """Take back what silent workers held, and what those of `dead` held, which need not be waited for."""
        reclaimed = await self._queue.reclaim(losses=self._settings.losses, workers=dead)
        for _ in range(len(reclaimed.requeued) + len(reclaimed.exhausted)):
            self._count_loss()
        if reclaimed.requeued:
            _log.warning(
                "%d jobs of lost workers wait again",
                len(reclaimed.requeued),
                extra={"action": "jobs.reclaimed", "jobs": reclaimed.requeued},
            )
        for job in reclaimed.exhausted:
            await self._endings.end_reclaimed(job)
