"""Standbys: VMMs that are started ahead of time for the templates in use, so that a clone is one load.

They are jailed and idle. They exist only where the driver can prepare them (`PreparingSnapshot`). A
template is in use from its second clone on: a program that runs once never pays for what it will not
need. A standby holds a slot, which it gives up as soon as somebody waits for one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError
from emberbox.sandbox.machines.capacity import committed_mib
from emberbox.tasks import TaskKeeper, set_within
from emberbox.vmm.base import LoadedSnapshot, PreparingSnapshot, Standby

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import PoolSettings
    from emberbox.sandbox.machines.book import Place

_log = logging.getLogger(__name__)

IN_USE = 2
"""Clones from which on a template counts as used."""
RETRY_S = 5.0
"""Pause after a standby that could not be started."""
_LOOK_S = 5.0
"""Longest pause between two looks at what is too old, or could be started again."""


@dataclass(slots=True, kw_only=True)
class ReservedStandby:
    """A standby in its place.

    Attributes:
        place: Its machine's; closing its `undo` ends the VMM, or the machine that it became.
        standby: The VMM.
    """

    place: Place
    standby: Standby


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyStatus:
    """The stock at a glance. All but `ready` count since the engine's start.

    Args:
        ready: VMMs that wait now.
        started: How many were started.
        used: How many became clones.
        lost: How many ended while they waited.
        failures: How many could not be started.
    """

    ready: int = 0
    started: int = 0
    used: int = 0
    lost: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Stock:
    """What is kept of one template."""

    make: Callable[[PreparingSnapshot], Awaitable[ReservedStandby | None]]
    ready: deque[ReservedStandby] = field(default_factory=deque)
    uses: int = 0
    used_at: float = 0.0
    retry_at: float = 0.0


class StandbyStock:
    """The standbys of one engine.

    Args:
        settings: How many for each template, and for how long.
        most: How many over all templates.
        keeper: Owns the background tasks.
    """

    def __init__(self, settings: PoolSettings, most: int, keeper: TaskKeeper) -> None:
        self._settings = settings
        self._most = most
        self._keeper = keeper
        self._stocks: dict[PreparingSnapshot, _Stock] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._counts: Counter[str] = Counter()

    def status(self) -> StandbyStatus:
        """Return the counts over all templates."""
        return StandbyStatus(ready=self._total(), **self._counts)

    def ready(self, snapshot: LoadedSnapshot) -> int:
        """Return how many wait for clones of `snapshot`."""
        stock = self._stocks.get(snapshot) if isinstance(snapshot, PreparingSnapshot) else None
        return 0 if stock is None else len(stock.ready)

    def take(
        self, snapshot: LoadedSnapshot, make: Callable[[PreparingSnapshot], Awaitable[ReservedStandby | None]]
    ) -> ReservedStandby | None:
        """Note that a clone of `snapshot` is made, and return a standby for it; None when there is none.

        Args:
            snapshot: What is cloned.
            make: Starts one more standby for it; returns None when no slot is free.
        """
        if self._closed or not self._settings.standby or not isinstance(snapshot, PreparingSnapshot):
            return None
        stock = self._stocks.setdefault(snapshot, _Stock(make))
        stock.uses += 1
        stock.used_at = time.monotonic()
        if stock.uses >= IN_USE:
            self._look()
        self._drop_what_ended(stock)
        if not stock.ready:
            return None
        self._counts["used"] += 1
        return stock.ready.popleft()

    def give_up_one(self) -> int:
        """End a standby of the template that was not used for longest: its slot is needed.

        Returns the memory in MiB that it counts; 0 where there was none.
        """
        stocks = sorted(
            (stock for stock in self._stocks.values() if stock.ready), key=lambda stock: stock.used_at
        )
        if not stocks:
            return 0
        found = stocks[0].ready.popleft()
        self._discard(found)
        return committed_mib(found.place.spec.memory_mib)

    async def close(self) -> None:
        """End all standbys and start no more. Repeating is harmless."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        stocks, self._stocks = list(self._stocks.values()), {}
        async with asyncio.TaskGroup() as group:
            for found in [found for stock in stocks for found in stock.ready]:
                group.create_task(found.place.undo.close(), name=f"end-standby-{found.place.spec.id}")

    def _look(self) -> None:
        self._wake.set()
        if self._task is None:
            self._task = self._keeper.start(self._keep(), "standbys")

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            self._drop_what_is_idle()
            while (wanting := self._wanting()) is not None:
                await self._add(*wanting)
            await set_within(self._wake, min(_LOOK_S, self._settings.standby_idle_s))

    def _drop_what_is_idle(self) -> None:
        oldest = time.monotonic() - self._settings.standby_idle_s
        for snapshot, stock in list(self._stocks.items()):
            if stock.used_at < oldest:
                del self._stocks[snapshot]
                for found in stock.ready:
                    self._discard(found)
            else:
                self._drop_what_ended(stock)

    def _drop_what_ended(self, stock: _Stock) -> None:
        for found in [found for found in stock.ready if not found.standby.alive]:
            stock.ready.remove(found)
            self._counts["lost"] += 1
            self._discard(found)

    def _wanting(self) -> tuple[PreparingSnapshot, _Stock] | None:
        """Return the template that wants one more standby: of those that may, the one that was used last."""
        if self._total() >= self._most:
            return None
        now = time.monotonic()
        wanting = [
            item
            for item in self._stocks.items()
            if item[1].uses >= IN_USE
            and item[1].retry_at <= now
            and len(item[1].ready) < self._settings.standby
        ]
        return max(wanting, key=lambda item: item[1].used_at, default=None)

    async def _add(self, snapshot: PreparingSnapshot, stock: _Stock) -> None:
        try:
            made = await stock.make(snapshot)
        except EmberboxError as error:
            self._counts["failures"] += 1
            stock.retry_at = time.monotonic() + RETRY_S
            _log.warning(
                "a VMM could not be started ahead of time: %s", error, extra={"action": "standby.failed"}
            )
            return
        if made is None:
            stock.retry_at = time.monotonic() + RETRY_S
            return
        self._counts["started"] += 1
        stock.ready.append(made)

    def _total(self) -> int:
        return sum(len(stock.ready) for stock in self._stocks.values())

    def _discard(self, found: ReservedStandby) -> None:
        self._keeper.start(found.place.undo.close(), f"discard-standby-{found.place.spec.id}")
