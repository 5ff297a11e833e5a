"""How streams end: with whoever leaves first, and with nothing left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive


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
