"""A last-in-first-out list of undo steps that runs to its end, cancelled or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

_log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[Any] | None]


async def finish(task: asyncio.Future[None]) -> None:
    """Wait for `task` to its end even when the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break
    if cancelled is not None:
        raise cancelled
    task.result()


class UndoStack:
    """Undo steps, registered at once when something is acquired.

    A step that fails is logged and does not keep the others from running.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Step]] = []
        self._unwinding: asyncio.Task[None] | None = None

    def push(self, name: str, step: Step) -> None:
        """Register `step`, a plain or a coroutine function without arguments; `name` is for the log."""
        self._steps.append((name, step))

    def take(self) -> UndoStack:
        """Move all steps to a new stack: its owner has them now, and `unwind` here does nothing."""
        taken = UndoStack()
        taken._steps, self._steps = self._steps, []
        return taken

    async def unwind(self) -> None:
        """Run all steps, the latest first, each once.

        Finishes even when cancelled; repeating, even at the same time, is harmless.
        """
        if self._unwinding is None or self._unwinding.done():
            self._unwinding = asyncio.create_task(self._run())
        await finish(self._unwinding)

    async def _run(self) -> None:
        while self._steps:
            name, step = self._steps.pop()
            try:
                pending = step()
                if pending is not None:
                    await pending
            except Exception:
                _log.exception("undo step failed: %s", name, extra={"action": "vmm.undo_failed", "step": name})
