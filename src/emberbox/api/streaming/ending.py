"""How streams and waits end: with whoever leaves first, and with nothing left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request
    from starlette.types import Receive, Scope

    from emberbox.api.streaming.waiters import Waiters
    from emberbox.service.accounts.watch import Hold
    from emberbox.store.records import JobRecord


_T = TypeVar("_T")


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


async def key_lost(scope: Scope) -> EmberboxError:
    """Return once the key that a request came with is no longer good, with the error that says why.

    Never returns for a request without a key.
    """
    hold: Hold | None = scope.get("state", {}).get("hold")
    if hold is None:
        never: asyncio.Future[EmberboxError] = asyncio.get_running_loop().create_future()
        return await never
    return await hold.lost()


async def while_good(scope: Scope, work: Coroutine[Any, Any, _T]) -> _T:
    """Return what `work` does; it is cancelled when the key that the request came with is no longer good.

    Raises what `work` raises, or why the key is not.
    """
    ended = await first_of(work, key_lost(scope))
    if isinstance(ended, EmberboxError):
        raise ended
    result: _T = ended
    return result


async def end_of(job: JobRecord, wait_s: float | None, request: Request, waiters: Waiters) -> JobRecord:
    """Return the job as it is at its end, or after `wait_s` at the latest.

    A caller who leaves is not waited for, and the job goes on.

    Args:
        job: As it was found.
        wait_s: Cut to what the server allows; None does not wait.
        request: The caller's, whose body was read.
        waiters: Has a place for the request, or does not: then it does not wait.

    Raises:
        NotAuthenticated, NotAllowed: The key was revoked, suspended and so on meanwhile.
    """
    if not wait_s or job.terminal:
        return job
    with waiters.place(request.scope["state"]["key"]) as granted:
        if not granted:
            return job
        waiting = first_of(waiters.waits.wait(job.id, wait_s), gone(request.receive))
        return await while_good(request.scope, waiting) or job
