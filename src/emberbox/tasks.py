"""Background tasks that are never orphans: each has a name and an owner that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

AGAIN_S = 30.0
"""A task that goes on for so long after it was cancelled is cancelled once more."""


class TaskKeeper:
    """Owns tasks that outlive the call that started them, and waits for all of them at its close."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Start `work`; its failure is logged, not lost."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning(
                "background task %s failed: %s",
                task.get_name(),
                error,
                extra={"action": "task.failed"},
                exc_info=error,
            )

    async def settle(self) -> None:
        """Wait until every task that runs now has ended by itself."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def cancel(self) -> None:
        """Cancel what still runs and wait until it has ended.

        A library may lose a cancellation that comes together with what it waits for, as Python
        3.11's `asyncio.wait_for` does. The task would then go on, and be waited for as long: it is
        cancelled again. Clean-up that may take longer than `AGAIN_S` is therefore shielded.
        """
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=AGAIN_S)


async def shielded(work: Awaitable[_T]) -> _T:
    """Run `work` to its end even when the caller is cancelled; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:
            break
    if cancelled is not None:
        if task.exception() is not None:
            _log.warning("clean-up failed: %s", task.exception(), extra={"action": "undo.failed"})
        raise cancelled
    return task.result()


async def acquired(acquiring: Coroutine[Any, Any, _T], undo: Callable[[_T], Awaitable[object]]) -> _T:
    """Return what `acquiring` does; when the caller is cancelled meanwhile, undo it before that is raised.

    For what a cancellation would leave half done, such as the start of a process: asyncio ends that one then,
    but not the children that it has by then.
    """
    task = asyncio.get_running_loop().create_task(acquiring)
    try:
        return await shielded(task)
    except asyncio.CancelledError:
        if task.done() and not task.cancelled() and task.exception() is None:
            await shielded(undo(task.result()))
        raise


class UndoStack:
    """Undo steps, run last in, first out, shielded from cancellation; one that fails stops no other."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._closing: asyncio.Task[None] | None = None

    def push(self, undo: Callable[[], Awaitable[object]]) -> None:
        """Register an asynchronous step."""

        async def step() -> None:
            try:
                await undo()
            except Exception as error:
                _log.warning(
                    "clean-up step failed: %s", error, extra={"action": "undo.failed"}, exc_info=error
                )

        self._stack.push_async_callback(step)

    def push_call(self, undo: Callable[..., object], *arguments: object) -> None:
        """Register a quick synchronous step."""

        async def step() -> None:
            undo(*arguments)

        self.push(step)

    async def close(self) -> None:
        """Run every step once; later calls wait for the first."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._stack.aclose())
        await shielded(self._closing)


@contextlib.asynccontextmanager
async def undone_on_failure(undo: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run `undo` to its end when what is inside fails or is cancelled."""
    try:
        yield
    except BaseException:
        await shielded(undo())
        raise


async def set_within(event: asyncio.Event, at_most_s: float | None) -> bool:
    """Wait until `event` is set, for so many seconds at most; returns whether it is. None waits for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()
    return event.is_set()
