"""A pool: ready, primed sandboxes of one template, refilled in the background.

An empty pool never makes a caller wait behind a refill: the caller clones for itself, and refills
step aside meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, EmberboxError
from emberbox.model import RunMetrics
from emberbox.net.backoff import Backoff
from emberbox.sandbox.machines.calm import Calm
from emberbox.sandbox.machines.capacity import committed_mib
from emberbox.sandbox.templates.demand import Demand
from emberbox.sandbox.templates.reclaim import give_back, reclaim_idle
from emberbox.sandbox.templates.warming import prime
from emberbox.tasks import undone_on_failure
from emberbox.vmm.base import MachineState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import PoolSettings
    from emberbox.sandbox.machines.live import LiveMachine
    from emberbox.sandbox.templates.template import Template
    from emberbox.tasks import TaskKeeper

_log = logging.getLogger(__name__)

PING_S = 5.0
SETTLE_S = 0.05
OVERDUE_S = 0.5
"""A refill waits for claimed machines to end, so that it does not slow the runs that they were
claimed for: no longer than this while half of the pool or more is ready, and no longer than
`SETTLE_S` when it is not."""
PRIME_CONFIRM_S = 60.0
NO_ROOM_S = 0.5
"""When a refill that found no room looks again."""
_AGAIN = Backoff(first_s=0.5, longest_s=15.0)
"""After failures in a row, so that a broken template does not spin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """A pool at a glance. `claims` counts what was asked for; `misses` what had to be cloned on demand.

    `standby` is how many VMMs were started ahead of time for its clones, and have no guest yet.
    """

    template: str
    runtime: str
    memory_mib: int
    vcpus: int
    ready: int
    target: int
    claims: int
    misses: int
    failures: int
    standby: int = 0


class Pool:
    """Ready machines of one template.

    Args:
        template: What they are cloned from.
        clone: Makes one more machine; told whether it may wait for room.
        settings: Bounds and intervals.
        keeper: Owns the background tasks.

    Attributes:
        template: What they are cloned from.
        claimed_at: When one was asked for last, by `time.monotonic`; when it was made, before that.
    """

    def __init__(
        self,
        template: Template,
        clone: Callable[[bool], Awaitable[LiveMachine]],
        settings: PoolSettings,
        keeper: TaskKeeper,
    ) -> None:
        self.template = template
        self.claimed_at = time.monotonic()
        self._clone = clone
        self._settings = settings
        self._keeper = keeper
        self._ready: deque[LiveMachine] = deque()
        self._demand = Demand(settings.window_s)
        self._wake = asyncio.Event()
        self._filled = asyncio.Event()
        self._urgent = 0
        self._calm = Calm()
        self._counts = Counter(claims=0, misses=0, failures=0)
        self._floor = settings.minimum
        self._ordered = False
        self._closed = False
        self._tasks = [keeper.start(self._refill(), f"pool-refill-{template.record.key}")]
        self._tasks.append(keeper.start(self._look_after(), f"pool-health-{template.record.key}"))

    def status(self) -> PoolStatus:
        """Return the pool's counts."""
        return PoolStatus(
            template=self.template.record.key,
            runtime=self.template.runtime.name,
            memory_mib=self.template.size.memory_mib,
            vcpus=self.template.size.vcpus,
            ready=len(self._ready),
            target=self._target(),
            **self._counts,
        )

    @property
    def ordered(self) -> int:
        """How many are kept ready at least because somebody ordered it; 0 where nobody did."""
        return self._floor if self._ordered else 0

    def keep(self, minimum: int) -> None:
        """Keep at least `minimum` ready from now on, within the maximum."""
        self._floor = min(minimum, self._settings.maximum)
        self._ordered = self._floor > 0
        self._wake.set()

    async def full(self, timeout_s: float) -> bool:
        """Wait until as many are ready as are wanted; returns False when that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self._ready) < self._target():
                    self._filled.clear()
                    self._wake.set()
                    await self._filled.wait()
        except TimeoutError:
            return False
        return True

    async def claim(self) -> LiveMachine:
        """Return a ready machine, or clone one now. The caller owns it. Raises what cloning raises."""
        self._counts["claims"] += 1
        self.claimed_at = time.monotonic()
        self._demand.claim(self.claimed_at)
        while self._ready:
            live = self._ready.popleft()
            if not _alive(live) or self._stale(live):
                self._discard(live)
                continue
            self._wake.set()
            self._calm.disturb()
            live.undo.push_call(self._calm.settle)
            live.metrics = RunMetrics(source="pool")
            if live.reclaimed:
                self._keeper.start(give_back(live), f"give-back-{live.id}")
            return live
        self._counts["misses"] += 1
        self._urgent += 1
        try:
            return await self._clone(True)
        finally:
            self._urgent -= 1
            self._wake.set()

    @property
    def in_use(self) -> bool:
        """Whether somebody waits for a machine of it, or ordered that some are kept ready."""
        return bool(self._urgent or self._ordered)

    def give_up_one(self) -> int:
        """End a ready machine: its room is needed.

        Returns the memory in MiB that it counts; 0 where there was none.
        """
        if not self._ready:
            return 0
        live = self._ready.popleft()
        self._discard(live)
        return committed_mib(live.machine.spec.memory_mib)

    async def close(self) -> None:
        """End all ready machines and stop refilling. Repeating is harmless."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        while self._ready:
            await self._ready.popleft().undo.close()

    def _target(self) -> int:
        return (
            0 if self._closed else self._demand.target(time.monotonic(), self._floor, self._settings.maximum)
        )

    def _stale(self, live: LiveMachine) -> bool:
        return time.monotonic() - live.made > self._settings.stale_s

    def _discard(self, live: LiveMachine) -> None:
        self._keeper.start(live.undo.close(), f"discard-{live.id}")

    async def _refill(self) -> None:
        failures_in_a_row = 0
        while True:
            if self._urgent or len(self._ready) >= self._target():
                self._filled.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._settle()
                await self._add()
                failures_in_a_row = 0
            except CapacityExhausted:
                await asyncio.sleep(NO_ROOM_S)
            except EmberboxError as error:
                self._counts["failures"] += 1
                _log.warning(
                    "a pool could not be refilled: %s", error, extra={"action": "pool.refill_failed"}
                )
                failures_in_a_row += 1
                await asyncio.sleep(_AGAIN.pause_s(failures_in_a_row))

    async def _settle(self) -> None:
        plenty = len(self._ready) * 2 >= self._target()
        await self._calm.wait(OVERDUE_S if plenty else SETTLE_S)

    async def _add(self) -> None:
        live = await self._clone(False)
        async with undone_on_failure(live.undo.close):
            await live.confirm(PRIME_CONFIRM_S)
            await prime(live.guest, self.template.runtime, waiting=self.template.record.waiting)
            await live.guest.clock(time.time_ns(), timeout_s=PING_S)
        self._ready.append(live)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._settings.health_s)
            self._wake.set()
            surplus = len(self._ready) - self._target()
            for live in list(self._ready):
                if surplus > 0 or self._stale(live) or not await _healthy(live):
                    surplus -= 1
                    if live in self._ready:  # it may have been claimed while it was asked
                        self._ready.remove(live)
                        self._discard(live)
                else:
                    await reclaim_idle(
                        live, self._settings.reclaim_s, partial(self._ready.__contains__, live)
                    )


def _alive(live: LiveMachine) -> bool:
    return not live.guest.closed and live.machine.poll() is MachineState.RUNNING


async def _healthy(live: LiveMachine) -> bool:
    if not _alive(live):
        return False
    try:
        await live.guest.ping(timeout_s=PING_S)
    except EmberboxError:
        return False
    return True
