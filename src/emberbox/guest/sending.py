"""Stream 0 of a channel: what the host sends, as the guest's credit allows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.guest.credit import SendCredit
from emberbox.guest.frames import END, FrameType

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.guest.deadline import Progress
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
        self._woken = asyncio.Event()

    def grant(self, amount: int) -> None:
        """Account for a CREDIT frame. Raises `GuestViolation` for too much or too often."""
        self._credit.grant(amount)
        self.wake()

    def wake(self) -> None:
        """Let a sender that waits look again."""
        self._woken.set()

    async def send(self, data: bytes, progress: Progress) -> None:
        """Send as credit allows; drops what is left once the channel is over.

        Raises:
            TimeoutError: The transfer stood still for longer than `progress` allows.
        """
        rest = memoryview(data)
        while rest and not self._over():
            size = self._credit.spend(len(rest))
            if size:
                self._link.send(FrameType.DATA, self._channel, bytes(rest[:size]))
                rest = rest[size:]
                progress.moved(size)
                await self._link.flush()
                continue
            self._woken.clear()
            if not await progress.wait(self._woken):
                raise TimeoutError

    def end(self) -> None:
        """Send the END, unless the channel is over. Repeating is harmless."""
        if not self.ended and not self._over():
            self.ended = True
            self._link.send(FrameType.DATA, self._channel, b"", END)
