"""A machine that lives: the VM, its agent, and what undoes both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.guest import GuestClient
    from emberbox.guest.channel import Channel
    from emberbox.model import RunMetrics
    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import Machine

CLOCK_SLACK_NS = 10_000_000
"""A guest's clock that may be further off than this after its restore is set again."""


@dataclass(slots=True, kw_only=True)
class LiveMachine:
    """A machine, its agent, and what undoes both.

    Attributes:
        id: Its name among live machines.
        machine: The VM.
        guest: The agent's client.
        undo: Closing it ends the machine and gives back all that it held.
        metrics: Where it came from, how long its caller waited for a slot, and from then on for a machine
            that takes requests: what its first run is charged with.
        resume: The request that told a fresh clone who it is, until its answer was seen.
        resume_sent: When that was, by `time.perf_counter`.
        made: When it was made, by `time.monotonic`.
        reclaimed: Whether its guest was asked to give memory back.
        patience_s: How long its agent may take to begin with what it is asked for; then the machine
            counts as hung.
    """

    id: str
    machine: Machine
    guest: GuestClient
    undo: UndoStack
    metrics: RunMetrics
    resume: Channel[int] | None = None
    resume_sent: float = 0.0
    made: float = field(default_factory=time.monotonic)
    reclaimed: bool = False
    patience_s: float = 60.0

    async def confirm(self, timeout_s: float) -> None:
        """Wait until the clone has said that it has its own entropy, clock and name. Repeating is free.

        Raises:
            GuestError: It did not; the machine must be ended.
        """
        if self.resume is None:
            return
        pending, self.resume = self.resume, None
        await pending.answer(timeout_s)
        if (time.perf_counter() - self.resume_sent) * 1e9 > CLOCK_SLACK_NS:
            await self.guest.clock(time.time_ns(), timeout_s=timeout_s)
