"""By when a RESULT must have come, by the host's own clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.errors import GuestTimeout

if TYPE_CHECKING:
    from emberbox.guest.inbox import Inbox
    from emberbox.guest.sending import Link


class Deadline:
    """The bound of one channel. It runs whether anybody waits or not.

    An agent that waits for its host is not late: where pieces lie here that nobody has taken, the
    bound begins anew once they are.

    Args:
        link: The session, which ends when the bound is over.
        inbox: The pieces that lie here.
    """

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._put_off: tuple[float, str] | None = None

    def set(self, within_s: float | None, complaint: str) -> None:
        """Set the bound, in place of what was set before.

        Args:
            within_s: Seconds from now; None for no bound.
            complaint: Why it is too late then.
        """
        self.clear()
        if within_s is not None:
            self._timer = self._loop.call_later(within_s, self._over, within_s, complaint)

    def clear(self) -> None:
        """End the bound."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._put_off = None

    def taken(self) -> None:
        """Say that a piece was taken: a bound that was put off begins anew with the last one."""
        if self._put_off is not None and not self._inbox:
            self.set(*self._put_off)

    def _over(self, within_s: float, complaint: str) -> None:
        if self._inbox:
            self._put_off = (within_s, complaint)
        else:
            self._link.fail(GuestTimeout(complaint))
