"""Runs a command's asynchronous part so that Ctrl-C and its like end it in good order."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.cli.failures import Interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_T = TypeVar("_T")
_ENDING = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""What ends a command. Not every system has each of them."""


def run_interruptible(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run `work` to its end and return its result.

    SIGINT, SIGTERM and SIGHUP (on Windows: Ctrl-C and Ctrl-Break) cancel it; its clean-up runs. More
    of them while it cleans up change nothing. Signals that the parent process made ignored stay
    ignored.

    Raises:
        Interrupted: It was cancelled so.
    """
    return asyncio.run(_run(work))


async def _run(work: Callable[[], Awaitable[_T]]) -> _T:
    task = asyncio.ensure_future(work())
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if not received:
            received.append(number)
            task.cancel()

    handled = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    with _handling(handled, interrupt):
        await asyncio.wait({task})
    if received and task.cancelled():
        raise Interrupted(received[0])
    return task.result()


@contextmanager
def _handling(numbers: list[signal.Signals], handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have signals call `handler` in the running loop."""
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}
    for number in numbers:
        try:
            loop.add_signal_handler(number, handler, number)
        except NotImplementedError:  # Windows' loop has no part in signals
            before[number] = signal.signal(
                number, lambda received, _: loop.call_soon_threadsafe(handler, signal.Signals(received))
            )
    try:
        yield
    finally:
        for number in numbers:
            if number in before:
                signal.signal(number, before[number])
            else:
                loop.remove_signal_handler(number)
