"""Heartbeats of streams that say nothing, and the end of those that nobody reads."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""A stream that says nothing for so long sends a heartbeat: proxies keep it open, and a reader that
is gone is noticed."""
STALLED_S = 300.0
"""A reader that takes nothing for so long, while there is something to take, is gone. It may come
back and resume."""


class Pulse:
    """Watches over the sending end of a stream: when it last sent, and whether it is stuck."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._began: float | None = None
        self._last = self._now()

    async def send(self, sending: Awaitable[None]) -> None:
        """Await what sends one piece, and note when that began and ended."""
        self._began = self._now()
        await sending
        self._began = None
        self._last = self._now()

    async def beat(self, heartbeat: Callable[[], Awaitable[None]] | None) -> None:
        """Send a heartbeat whenever nothing was sent for a while.

        Returns when the other end takes nothing any more.

        Args:
            heartbeat: Sends one; None sends none.
        """
        while not self._stalled():
            await asyncio.sleep(self._pause_s())
            if self._began is None and self._last + HEARTBEAT_S <= self._now():
                self._last = self._now()
                if heartbeat is not None and not await _sent(heartbeat):
                    break
        _log.info("a reader of a stream stopped reading", extra={"action": "stream.stalled"})

    def _pause_s(self) -> float:
        if self._began is not None:
            return HEARTBEAT_S
        return max(self._last + HEARTBEAT_S - self._now(), 0.01)

    def _stalled(self) -> bool:
        return self._began is not None and self._began + STALLED_S <= self._now()


async def _sent(heartbeat: Callable[[], Awaitable[None]]) -> bool:
    try:
        await asyncio.wait_for(heartbeat(), STALLED_S)
    except TimeoutError:
        return False
    return True
