"""Waiting for the end of a job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from emberbox.service.recent import Recent
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.service.jobs.running.live import LiveJobs
    from emberbox.store.records import JobRecord

FOREIGN_S = 1.0
"""A job that runs in another process is looked at this often by those who wait for it."""
FRESH = 1024
"""Jobs just accepted, of which it is known that they wait."""


class JobWaits:
    """Callers that wait for jobs.

    Args:
        find: Returns a job as it is now; raises `NotFound`.
        live: Those that run here or ended here a moment ago, with news of them.
        longest_s: No caller waits longer at once.
    """

    def __init__(
        self, find: Callable[[str], Awaitable[JobRecord]], live: LiveJobs, *, longest_s: float
    ) -> None:
        self._find = find
        self._live = live
        self._longest_s = longest_s
        self._fresh: Recent[str, None] = Recent(FRESH)

    def expect(self, job_id: str) -> None:
        """Note that a job was accepted just now: its row need not be looked at to know that it waits."""
        self._fresh[job_id] = None

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Wait until a job has ended; returns it as it is then, or after `timeout_s` seconds at most.

        A service that ends lets those who wait go at once.

        Raises:
            NotFound: There is no such job.
        """
        deadline = time.monotonic() + min(timeout_s, self._longest_s)
        with self._live.watching(job_id) as changed:
            while True:
                changed.clear()
                left = 0.0 if self._live.closing.is_set() else deadline - time.monotonic()
                if left <= 0 or not self._nothing_new(job_id):
                    job = await self._find(job_id)
                    if job.terminal or left <= 0:
                        return job
                await set_within(changed, min(left, FOREIGN_S))

    def _nothing_new(self, job_id: str) -> bool:
        """Return whether the row need not be looked at: the job runs here, or was accepted a moment ago."""
        if job_id in self._live.recent:
            return False
        if self._live.get(job_id) is not None:
            return True
        if job_id not in self._fresh:
            return False
        # Only once: if nobody here takes it, another process may.
        del self._fresh[job_id]
        return True
