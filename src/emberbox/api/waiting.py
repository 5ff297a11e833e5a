"""Waiting for a job's end on behalf of a caller, who may leave meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.api.streaming.ending import first_of, gone

if TYPE_CHECKING:
    from starlette.requests import Request

    from emberbox.service.service import Service
    from emberbox.store.records import JobRecord


async def end_of(job: JobRecord, wait_s: float | None, request: Request, service: Service) -> JobRecord:
    """Return the job as it is at its end, or after `wait_s` at the latest.

    A caller who leaves is not waited for, and the job goes on.

    Args:
        job: As it was found.
        wait_s: Cut to what the server allows; None does not wait.
        request: The caller's, whose body was read.
        service: Tells of the job's end.
    """
    if not wait_s or job.terminal:
        return job
    waiting = service.waits.wait(job.id, min(wait_s, service.settings.server.wait_s))
    return await first_of(waiting, gone(request.receive)) or job
