"""What an engine is made of while it runs, started in order and ended in the opposite one."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.sandbox.kernels import guest_kernel
from emberbox.sandbox.machines.book import MachineBook
from emberbox.sandbox.machines.kept import KeptMachines
from emberbox.sandbox.machines.leftovers import end_leftovers
from emberbox.sandbox.machines.making import MachineMaker
from emberbox.sandbox.machines.places import Places
from emberbox.sandbox.machines.runfolder import SLOTS, RunFolder
from emberbox.sandbox.machines.slots import Slots
from emberbox.sandbox.machines.standby import StandbyStock
from emberbox.sandbox.opening import Opener
from emberbox.sandbox.packages.layers import LayerStore
from emberbox.sandbox.packages.provision import Provision
from emberbox.sandbox.templates.pools import Pools
from emberbox.sandbox.templates.store import TemplateStore
from emberbox.sandbox.templates.stored import remove_templates, stored_templates
from emberbox.vmm.base import SnapshotDriver
from emberbox.vmm.registry import choose_driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import CapacitySettings, Settings
    from emberbox.images import Image, ImageStore
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.compiling.cache import CompileCache
    from emberbox.tasks import TaskKeeper, UndoStack
    from emberbox.vmm.base import Driver, DriverReport

STANDBY_SHARE = 4
"""VMMs that wait for their guest take one of so many slots, at most."""
OVERHEAD_MIB = 64
"""About what a machine takes besides its guest's memory; for the default of `capacity.machines`."""
_USUAL_GUEST_MIB = 256
_MEMORY_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """The parts of an engine that was started.

    Args:
        report: What the machines run on, and why.
        book: Which machines live, and what is kept of those that ended badly.
        slots: The numbers of live machines.
        standbys: VMMs that were started ahead of time.
        maker: Makes machines.
        provision: Installs packages.
        pools: Ready machines.
        opener: Opens sandboxes.
    """

    report: DriverReport
    book: MachineBook
    slots: Slots
    standbys: StandbyStock
    maker: MachineMaker
    provision: Provision
    pools: Pools
    opener: Opener


class Starter:
    """Starts the parts of one engine.

    Args:
        settings: The engine's.
        image_of: Returns a runtime's image; builds it when there is none.
        programs: What was compiled before.
        keeper: Owns the background tasks.
        undo: Gets what ends each part.
    """

    def __init__(
        self,
        settings: Settings,
        image_of: Callable[[Runtime], Awaitable[Image]],
        programs: CompileCache,
        keeper: TaskKeeper,
        undo: UndoStack,
    ) -> None:
        self._settings = settings
        self._image_of = image_of
        self._programs = programs
        self._keeper = keeper
        self._undo = undo

    async def start(self, driver: Driver, report: DriverReport, folder: RunFolder) -> EngineParts:
        """Start all on a folder that was claimed.

        What was started when this raises is on the stack of undo steps.
        """
        settings = self._settings
        slots = Slots(folder.number * SLOTS, _machine_count(settings.capacity))
        book = MachineBook(await self._kept(), driver.name)
        standbys = StandbyStock(settings.pool, max(1, slots.count // STANDBY_SHARE), self._keeper)
        slots.on_shortage = standbys.give_up_one
        places = Places(folder, slots, settings, book)
        maker = MachineMaker(driver, places, settings.vmm, _launches(settings.capacity), standbys)
        provision = self._provision(maker)
        templates = self._templates(maker, driver, report)
        pools = Pools(maker, standbys, settings.pool, self._keeper)
        opener = Opener(maker, templates, pools, self._programs, report.accelerator)
        # Standbys end first, then pools, then sandboxes; what runs in the background may end by itself.
        for end in (self._keeper.settle, opener.close, pools.close, standbys.close):
            self._undo.push(end)
        self._undo.push_call(opener.end)
        return EngineParts(
            report=report,
            book=book,
            slots=slots,
            standbys=standbys,
            maker=maker,
            provision=provision,
            pools=pools,
            opener=opener,
        )

    async def _kept(self) -> KeptMachines:
        vmm = self._settings.vmm
        kept = KeptMachines(self._settings.data / "ended", count=vmm.kept_machines, age_s=vmm.kept_age_s)
        await asyncio.to_thread(kept.clean)
        return kept

    def _provision(self, maker: MachineMaker) -> Provision:
        data, templates = self._settings.data, self._settings.data / "templates"
        layers = LayerStore(
            data / "layers",
            self._settings.packages.cache_mib,
            attached=lambda digest: sum(
                record.stored_bytes for record in stored_templates(templates) if digest in record.layers
            ),
            detach=lambda digest: remove_templates(templates, lambda record: digest in record.layers),
        )
        provision = Provision(layers, self._settings.packages, maker, self._image_of)
        self._undo.push_call(provision.close)
        return provision

    def _templates(self, maker: MachineMaker, driver: Driver, report: DriverReport) -> TemplateStore | None:
        if not isinstance(driver, SnapshotDriver):
            return None
        templates = TemplateStore(self._settings.data / "templates", maker, driver, driver.name, report)
        self._undo.push(templates.close)
        return templates


async def usable_driver(settings: Settings, images: ImageStore) -> tuple[Driver, DriverReport]:
    """Return the driver to use, and what probing it found.

    Raises:
        RequirementMissing: None can be used; `mend` says what to do about it.
    """
    driver, report = await choose_driver(settings.vmm, settings.data, guest_kernel(images))
    if not report.usable:
        raise RequirementMissing(report.reason, mend=report.mend)
    return driver, report


async def claimed_folder(settings: Settings) -> RunFolder:
    """Return a run folder of the engine's own, once what dead engines left is ended and removed."""
    return await RunFolder.claim(settings.data / "run", end_leftovers)


def _machine_count(capacity: CapacitySettings) -> int:
    """Return how many machines may live at once: what is set, else what fits into the host's memory."""
    wanted = capacity.machines
    if wanted == 0:
        total_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
        wanted = max(2, int(total_mib * _MEMORY_SHARE) // (_USUAL_GUEST_MIB + OVERHEAD_MIB))
    return min(wanted, SLOTS)


def _launches(capacity: CapacitySettings) -> int:
    return capacity.launches or max(2, len(os.sched_getaffinity(0)) * 2)
