"""Stream 0 of a channel: what the host sends, as the guest's credit allows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.guest.credit import SendCredit
from emberbox.guest.frames import END, FrameType

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.guest.link import Link


class Sending:
    """The sending half of one channel. One sender at a time.

    Args:
        link: The session.
        channel: The channel's id.
        over: Whether the channel takes nothing more.
    """

    def __init__(self, link: Link, channel: int, over: Callable[[], bool]) -> None:
        self.ended = False
        """Whether the END was sent."""
        self._link = link
        self._channel = channel
        self._over = over
        self._credit = SendCredit()
        self._room: asyncio.Future[None] | None = None

    def grant(self, amount: int) -> None:
        """Account for a CREDIT frame. Raises `GuestViolation` for too much or too often."""
        self._credit.grant(amount)
        self.wake()

    def wake(self) -> None:
        """Let a sender that waits look again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def send(self, data: bytes, stall_s: float | None) -> None:
        """Send as credit allows; drops what is left once the channel is over.

        Raises:
            TimeoutError: No credit came for `stall_s` seconds. None waits for ever.
        """
        rest = memoryview(data)
        while rest and not self._over():
            size = self._credit.spend(len(rest))
            if size:
                self._link.send(FrameType.DATA, self._channel, bytes(rest[:size]))
                rest = rest[size:]
                await self._link.flush()
                continue
            async with asyncio.timeout(stall_s):
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None

    def end(self) -> None:
        """Send the END. Repeating is harmless."""
        if not self.ended:
            self.ended = True
            self._link.send(FrameType.DATA, self._channel, b"", END)
