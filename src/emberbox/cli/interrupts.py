"""Runs a command's asynchronous part so that Ctrl-C and its like end it in good order."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from emberbox.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_interruptible(work: Callable[[], Awaitable[int]]) -> int:
    """Run `work` to its end and return its exit code.

    SIGINT, SIGTERM and SIGHUP cancel it; its clean-up runs, and the exit code is 128 and the signal's number. More of them while
    it cleans up change nothing. Signals that the parent process made ignored stay ignored.
    """
    return asyncio.run(_run(work))


async def _run(work: Callable[[], Awaitable[int]]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work())
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if not received:
            received.append(number)
            task.cancel()

    handled = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, interrupt, number)
    try:
        await asyncio.wait({task})
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
    if received and task.cancelled():
        return exit_codes.of_signal(received[0])
    return task.result()
