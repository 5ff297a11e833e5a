"""Waiting for a job's end on behalf of a caller, who may leave meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.api.streaming.ending import gone

if TYPE_CHECKING:
    from starlette.types import Receive

    from emberbox.service.jobs.waiting import JobWaits
    from emberbox.store.records import JobRecord


class Waiting:
    """Waits for jobs, for one request.

    Args:
        receive: Of the request, whose body was read.
        waits: Tells of a job's end.
        longest_s: To which each wait is cut.
    """

    def __init__(self, receive: Receive, waits: JobWaits, longest_s: float) -> None:
        self._receive = receive
        self._waits = waits
        self.longest_s = longest_s

    async def end_of(self, job: JobRecord, wait_s: float | None) -> JobRecord:
        """Return the job as it is at its end, or after `wait_s` at the latest.

        A caller who leaves is not waited for, and the job goes on.

        Args:
            job: As it was found.
            wait_s: None does not wait.
        """
        if not wait_s or job.terminal:
            return job
        waiting = asyncio.ensure_future(self._waits.wait(job.id, min(wait_s, self.longest_s)))
        leaving = asyncio.ensure_future(gone(self._receive))
        try:
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else job
        finally:
            waiting.cancel()
            leaving.cancel()
            await asyncio.gather(waiting, leaving, return_exceptions=True)
