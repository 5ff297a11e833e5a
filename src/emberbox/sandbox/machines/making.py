"""Makes machines with an agent that answers: cold, or cloned from a template."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

from emberbox.errors import CapacityExhausted, GuestRequestFailed, VmmError
from emberbox.guest import GuestClient
from emberbox.model import MIB, RunMetrics, elapsed_ms
from emberbox.sandbox.machines.calm import Calm
from emberbox.sandbox.machines.live import LiveMachine
from emberbox.sandbox.machines.places import Places, undone_if_failed
from emberbox.sandbox.machines.standby import ReservedStandby, StandbyStock
from emberbox.sandbox.machines.timer import boot_in_time, check_timer
from emberbox.vmm.base import Driver, LoadedSnapshot, Machine, PreparingSnapshot, TimedMachine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import VmmSettings
    from emberbox.guest.channel import Channel
    from emberbox.sandbox.machines.book import Place
    from emberbox.sandbox.machines.plan import MachinePlan

_log = logging.getLogger(__name__)

STEP_ASIDE_S = 0.1
"""How long starting a VMM ahead of time waits for clones that are being made, at most."""
_LATER_S = 10.0
"""How much later than the watch, which can tell why, the greeting itself gives up."""
_PRINTK = "/proc/sys/kernel/printk"
_ALL_LEVELS = b"8\n"


class MachineMaker:
    """Makes machines within the engine's slots.

    Args:
        driver: The VMM.
        places: Where machines live.
        settings: Timeouts.
        launches: How many clones are made at the same moment.
        standbys: VMMs that were started ahead of time.
    """

    def __init__(
        self,
        driver: Driver,
        places: Places,
        settings: VmmSettings,
        launches: int,
        standbys: StandbyStock,
    ) -> None:
        self._places = places
        self._driver = driver
        self._settings = settings
        self._gate = asyncio.Semaphore(launches)
        self._standbys = standbys
        self._calm = Calm()

    # -- cold -------------------------------------------------------------------------------------

    async def boot(self, plan: MachinePlan) -> LiveMachine:
        """Boot a machine and wait for its agent.

        It is booted again where the host was too busy for its kernel to measure its timer.

        Raises:
            BootFailed: The guest hung, or ended, before its agent spoke.
            VmmError, GuestError, CapacityExhausted: With nothing left behind.
        """
        return await boot_in_time(partial(self._boot, plan))

    async def _boot(self, plan: MachinePlan, tolerance: float) -> LiveMachine:
        begun = time.perf_counter()
        source = "cold" if plan.memory is None else "template"
        place = await self._places.take(plan, source)
        queued = time.perf_counter()
        async with undone_if_failed(place.undo, place):
            machine = place.machine = await self._started(place, plan)
            place.undo.push(machine.kill)
            guest = await self._greet(place, machine)
            if isinstance(machine, TimedMachine):
                machine.settle()
            await check_timer(machine, guest, tolerance)
            await _identify(guest, place, plan).answer(self._settings.clone_timeout_s)
        return self._live(place, machine, guest, "cold", begun, queued)

    async def _started(self, place: Place, plan: MachinePlan) -> Machine:
        if plan.memory is None:
            return await self._driver.start(place.spec)
        plan.memory.unlink(missing_ok=True)  # an earlier boot's
        template: Machine = await self._driver.start_template(place.spec, plan.memory)  # type: ignore[attr-defined]
        return template

    async def _greet(self, place: Place, machine: Machine) -> GuestClient:
        """Connect to the agent of a machine that boots and hear its hello, for as long as there is hope.

        Raises:
            BootFailed: It hangs, or has ended.
            GuestVersionMismatch: It speaks another version.
        """
        from emberbox.vmm.boots.watch import BootBounds, until_it_speaks

        async def speaking() -> GuestClient:
            guest = await _attach(place, machine)
            await guest.hello(timeout_s=self._settings.boot_timeout_s + _LATER_S)
            return guest

        bounds = BootBounds(
            cpu_s=self._settings.boot_cpu_s,
            idle_s=self._settings.boot_idle_s,
            wall_s=self._settings.boot_timeout_s,
        )
        return await until_it_speaks(machine, speaking(), bounds)

    # -- cloned -----------------------------------------------------------------------------------

    async def clone(
        self, snapshot: LoadedSnapshot, plan: MachinePlan, *, patient: bool = True
    ) -> LiveMachine:
        """Clone a machine from a template.

        It has been told who it is; `LiveMachine.confirm` waits for its answer.
        Requests that are sent before that are carried out after it, so a program never runs as a twin.

        Args:
            snapshot: The template's.
            plan: The template's, with what is the clone's own.
            patient: Whether it waits for its turn; False for what is made for stock, and needs room
                that nobody waits for.

        Raises:
            VmmError, GuestError, SnapshotFailed, CapacityExhausted: With nothing left behind.
        """
        begun = time.perf_counter()
        found = None
        if plan.console is None:
            found = self._standbys.take(snapshot, partial(self._prepare, plan=plan))
        if found is not None:
            try:
                return await self._cloned(found.place, plan, found.standby.restore, begun)
            except VmmError as error:
                _log.info(
                    "a standby could not be used: %s",
                    error,
                    extra={"action": "standby.unused", "machine": found.place.spec.id},
                )
        place = await (self._places.take if patient else self._places.take_now)(plan, "clone")
        if place is None:
            raise CapacityExhausted("there is no room for a VM that nobody waits for")
        return await self._cloned(place, plan, partial(snapshot.restore, place.spec), begun)

    async def _cloned(
        self, place: Place, plan: MachinePlan, restore: Callable[[], Awaitable[Machine]], begun: float
    ) -> LiveMachine:
        self._calm.disturb()
        try:
            async with undone_if_failed(place.undo, place), self._gate:
                queued = time.perf_counter()
                machine = place.machine = await restore()
                place.undo.push(machine.kill)
                guest = await _attach(place, machine)
                sent = time.perf_counter()
                pending = _identify(guest, place, plan, within_s=self._settings.clone_timeout_s)
                if plan.console is not None:
                    await _make_talkative(guest)
        finally:
            self._calm.settle()
        live = self._live(place, machine, guest, "clone", begun, queued)
        live.resume, live.resume_sent = pending, sent
        return live

    def _live(
        self,
        place: Place,
        machine: Machine,
        guest: GuestClient,
        source: Literal["clone", "cold"],
        begun: float,
        queued: float,
    ) -> LiveMachine:
        return LiveMachine(
            id=place.spec.id,
            machine=machine,
            guest=guest,
            undo=place.undo,
            metrics=RunMetrics(
                source=source,
                queue_ms=(queued - begun) * 1000,
                boot_ms=elapsed_ms(queued),
            ),
            patience_s=self._settings.clone_timeout_s,
        )

    # -- ahead of time ----------------------------------------------------------------------------

    async def _prepare(self, snapshot: PreparingSnapshot, *, plan: MachinePlan) -> ReservedStandby | None:
        """Start a VMM ahead of time; None when no slot is free for it.

        It steps aside for clones under way, for a moment.
        """
        await self._calm.wait(STEP_ASIDE_S)
        place = await self._places.take_now(plan, "clone")
        if place is None:
            return None
        async with undone_if_failed(place.undo, place):
            standby = await snapshot.prepare(place.spec)
            place.undo.push(standby.discard)
        return ReservedStandby(place=place, standby=standby)


async def _attach(place: Place, machine: Machine) -> GuestClient:
    """Connect to the agent. Raises `VmmError`."""
    reader, writer = await machine.open_channel()
    guest = place.guest = GuestClient(reader, writer, name=place.spec.id)
    place.undo.push(guest.close)
    return guest


def _identify(
    guest: GuestClient, place: Place, plan: MachinePlan, *, within_s: float | None = None
) -> Channel[int]:
    """Tell a machine what sets it apart from its twins; arguments as for `GuestClient.start_resume`."""
    return guest.start_resume(
        entropy=os.urandom(64),
        unix_ns=time.time_ns(),
        hostname=f"ember-{place.spec.id}",
        disk_bytes=None if plan.disk_mib is None else plan.disk_mib * MIB,
        within_s=within_s,
    )


async def _make_talkative(guest: GuestClient) -> None:
    """Have a clone's kernel print all it has to say to the console, where the image lets it.

    Its template's was told to be quiet.
    Source: the kernel's Documentation/admin-guide/sysctl/kernel.rst, `printk`.
    """
    with contextlib.suppress(GuestRequestFailed):
        await guest.write_file(_PRINTK, _ALL_LEVELS, user="root")
