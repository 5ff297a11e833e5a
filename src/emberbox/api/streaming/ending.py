"""How streams and waits end: with whoever leaves first, and with nothing left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request
    from starlette.types import Receive

    from emberbox.service.jobs.waiting import JobWaits
    from emberbox.store.records import JobRecord


async def first_of(*work: Coroutine[Any, Any, Any]) -> Any:
    """Return what the first one of `work` to end returns; the others are cancelled and waited for.

    Raises what one that has ended raised.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(part) for part in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    first, *_ = [task.result() for task in ended]
    return first


async def gone(receive: Receive) -> None:
    """Return when the other end has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def end_of(job: JobRecord, wait_s: float | None, request: Request, waits: JobWaits) -> JobRecord:
    """Return the job as it is at its end, or after `wait_s` at the latest.

    A caller who leaves is not waited for, and the job goes on.

    Args:
        job: As it was found.
        wait_s: Cut to what the server allows; None does not wait.
        request: The caller's, whose body was read.
        waits: Tells of the job's end.
    """
    if not wait_s or job.terminal:
        return job
    return await first_of(waits.wait(job.id, wait_s), gone(request.receive)) or job
