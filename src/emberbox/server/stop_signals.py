"""The signals that end the service: the first one in good order, the second one at once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and SIGINT: the first one asks for an end in good order, the second one for an end at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The first signal's name; empty before it."""
        return "" if self.received is None else self.received.name

    @property
    def hurried(self) -> bool:
        """Whether the end was asked for twice."""
        return self._hurry.is_set()

    async def around(self, work: Coroutine[Any, Any, None]) -> signal.Signals | None:
        """Run `work`, which a signal cancels until `first` is called; returns the first signal, if any."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._take, number)
        try:
            self._starting = working = asyncio.create_task(work, name="serve")
            await asyncio.wait({working})
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        if not working.cancelled():
            working.result()
        return self.received

    def _take(self, number: signal.Signals) -> None:
        if self.received is not None:
            self._hurry.set()
            return
        self.received = signal.Signals(number)
        self._asked.set()
        if self._starting is not None:
            self._starting.cancel()

    async def first(self, serving: asyncio.Task[None]) -> None:
        """Wait for the first signal; raises what ended the server, should it end by itself."""
        self._starting = None
        waiting = asyncio.create_task(self._asked.wait(), name="signal")
        try:
            await asyncio.wait({waiting, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if serving.done():
            serving.result()

    async def unless_hurried(
        self, work: Coroutine[Any, Any, None], instead: Coroutine[Any, Any, None]
    ) -> None:
        """Wait for `work`, which a second signal brings to its end by running `instead`."""
        working = asyncio.create_task(work, name="drain")
        hurry = asyncio.create_task(self._hurry.wait(), name="hurry")
        try:
            await asyncio.wait({working, hurry}, return_when=asyncio.FIRST_COMPLETED)
            if self.hurried:
                await instead
            await working
        finally:
            hurry.cancel()
            working.cancel()
            instead.close()
            await asyncio.wait({working, hurry})
