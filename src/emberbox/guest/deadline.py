"""How long the host waits for a guest, by its own clock: nothing that it asks for is without a bound.

- A channel's RESULT is due at a moment, or the agent must show now and then that it lives
  (`Deadline`). That runs whether anybody waits or not.
- A transfer moves on, or ends (`Progress`).

An agent that fails a bound costs its session, and with it its VM.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.errors import GuestTimeout
from emberbox.guest.credit import INITIAL_CREDIT
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from emberbox.guest.inbox import Inbox
    from emberbox.guest.link import Link

PATIENCE_S = 60.0
"""How long an agent may take to begin with what it is asked for, where its owner says nothing else."""
CHECK_S = 15.0
"""Interval at which an agent must show that it lives, while no RESULT is due."""
LATE_S = 10.0
"""How long after its output was taken an agent may take for a RESULT that was due before."""
LATE_BYTES = 4 * INITIAL_CREDIT
"""How much may come after a RESULT was due: what was under way, and what the program had written.
More is that of a program that still runs."""
STEP_BYTES = 65_536
"""A transfer moves on by steps of so many bytes: each of them has its bound anew."""


class Deadline:
    """The bound of one channel. It runs whether anybody waits or not.

    An agent that waits for its host is not late: where pieces lie here that nobody has taken, it
    need only show that it lives, and the RESULT is due once they are taken.

    Args:
        link: The session, which ends when the bound is over.
        inbox: The pieces that lie here.
    """

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._patience_s = PATIENCE_S
        self._overdue: str | None = None
        self._late_bytes = 0

    def set(self, within_s: float | None, complaint: str, *, patience_s: float = PATIENCE_S) -> None:
        """Let the RESULT be due, in place of what was set before.

        Args:
            within_s: Seconds from now; None for no bound.
            complaint: Why it is too late then.
            patience_s: How long the agent may take to show that it lives, where the host is late itself.
        """
        self.clear()
        self._patience_s = patience_s
        if within_s is not None:
            self._timer = self._loop.call_later(within_s, self._over, complaint)

    def watch(self, patience_s: float) -> None:
        """Let no RESULT be due; the agent must show every `CHECK_S` that it lives, within `patience_s`."""
        self.clear()
        self._patience_s = patience_s
        self._timer = self._loop.call_later(CHECK_S, self._look)

    def clear(self) -> None:
        """End the bound."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._overdue = None

    def arrived(self, size: int) -> None:
        """Say that a piece has come."""
        if self._overdue is not None:
            self._charged(size)

    def taken(self) -> None:
        """Say that a piece was taken: a RESULT that is overdue has `LATE_S` from the last one on."""
        if self._overdue is not None and not self._inbox:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(LATE_S, self._over, self._overdue)

    def _over(self, complaint: str) -> None:
        self._overdue = complaint
        if not self._inbox:
            self._fail()
            return
        # Whoever sends just enough to have something lie here at each look shall not go on for ever.
        if self._charged(LATE_BYTES // 8):
            self._look()

    def _look(self) -> None:
        self._link.pulse(self._patience_s)
        self._timer = self._loop.call_later(CHECK_S, self._look)

    def _charged(self, size: int) -> bool:
        self._late_bytes += size
        if self._late_bytes > LATE_BYTES:
            self._fail()
            return False
        return True

    def _fail(self) -> None:
        self._link.fail(GuestTimeout(self._overdue or ""))


class Progress:
    """The patience of one transfer: what it may stand still for, anew after each `STEP_BYTES` that moved.

    Only what the host waits for the guest counts, not what the guest waits for the host.

    Args:
        stall_s: Seconds for each step; None for a transfer whose channel has a `Deadline`.
    """

    def __init__(self, stall_s: float | None) -> None:
        self.stall_s = stall_s
        self._waited_s = 0.0
        self._moved = 0

    async def wait(self, event: asyncio.Event) -> bool:
        """Wait until `event` is set; returns False when that takes longer than is left of the patience."""
        if self.stall_s is None:
            return await set_within(event, None)
        clock = asyncio.get_running_loop().time
        begun = clock()
        came = await set_within(event, self.stall_s - self._waited_s)
        self._waited_s += clock() - begun
        return came

    def moved(self, size: int) -> None:
        """Say that so many bytes have moved."""
        self._moved += size
        if self._moved >= STEP_BYTES:
            self._moved, self._waited_s = 0, 0.0
