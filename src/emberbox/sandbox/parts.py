"""What an engine is made of while it runs, started in order and ended in the opposite one."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.sandbox.kernels import guest_kernel
from emberbox.sandbox.machines.book import MachineBook
from emberbox.sandbox.machines.capacity import machine_count, machines_mib, templates_mib
from emberbox.sandbox.machines.kept import KeptMachines
from emberbox.sandbox.machines.making import MachineMaker
from emberbox.sandbox.machines.places import Places
from emberbox.sandbox.machines.runfolder import SLOTS, RunFolder
from emberbox.sandbox.machines.slots import Slots
from emberbox.sandbox.machines.standby import StandbyStock
from emberbox.sandbox.packages.layers import LayerStore
from emberbox.sandbox.packages.provision import Provision
from emberbox.sandbox.templates.opened import OpenTemplates
from emberbox.sandbox.templates.pools import Pools
from emberbox.sandbox.templates.store import TemplateStore
from emberbox.sandbox.templates.stored import remove_templates, stored_templates
from emberbox.vmm.base import DriverReport, SnapshotDriver
from emberbox.vmm.registry import choose_driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import Settings
    from emberbox.images import Image, ImageStore
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.leases import Leases
    from emberbox.tasks import TaskKeeper, UndoStack

STANDBY_SHARE = 4
"""VMMs that wait for their guest take one of so many slots, at most."""


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
        templates: None where the driver takes no snapshots.
        pools: Ready machines.
    """

    report: DriverReport
    book: MachineBook
    slots: Slots
    standbys: StandbyStock
    maker: MachineMaker
    provision: Provision
    templates: TemplateStore | None
    pools: Pools


async def start_parts(
    settings: Settings,
    images: ImageStore,
    image_of: Callable[[Runtime], Awaitable[Image]],
    leases: Leases,
    keeper: TaskKeeper,
    undo: UndoStack,
) -> EngineParts:
    """Start the parts of one engine, once what dead engines left is ended and removed.

    Args:
        settings: The engine's.
        images: What guests boot.
        image_of: Returns a runtime's image; builds it when there is none.
        leases: On what it uses; closed with it.
        keeper: Owns the background tasks.
        undo: Gets what ends each part, but for pools and standbys, which the caller ends first.

    Raises:
        RequirementMissing: No driver can be used; `mend` says what to do about it.
    """
    driver, report = await choose_driver(settings.vmm, settings.data, guest_kernel(images))
    if not report.usable:
        raise RequirementMissing(report.reason, mend=report.mend)
    folder = await RunFolder.claim(settings.data / "run")
    undo.push_call(folder.release)
    undo.push_call(leases.close)
    vmm, capacity = settings.vmm, settings.capacity
    kept = KeptMachines(settings.data / "ended", count=vmm.kept_machines, age_s=vmm.kept_age_s)
    await asyncio.to_thread(kept.clean)
    book = MachineBook(kept, driver.name)
    slots = Slots(folder.number * SLOTS, machine_count(settings), machines_mib(settings))
    standbys = StandbyStock(settings.pool, max(1, slots.count // STANDBY_SHARE), keeper)
    processors = len(os.sched_getaffinity(0))
    launches = capacity.launches or max(2, processors * 2)
    maker = MachineMaker(driver, Places(folder, slots, settings, book), vmm, launches, standbys)
    pools = Pools(maker, standbys, settings.pool, keeper)
    slots.on_shortage = lambda: standbys.give_up_one() or pools.give_up_one()
    opened = OpenTemplates(templates_mib(settings), capacity.queue_timeout_s)
    opened.stock = pools
    templates = None
    if isinstance(driver, SnapshotDriver):
        templates = TemplateStore(
            settings.data / "templates",
            maker,
            driver,
            driver.name,
            report,
            settings.templates.disk_mib,
            opened,
            builds=max(2, processors),
        )
        undo.push(templates.close)
    return EngineParts(
        report=report,
        book=book,
        slots=slots,
        standbys=standbys,
        maker=maker,
        provision=Provision(_layers(settings), settings.packages, maker, image_of, leases),
        templates=templates,
        pools=pools,
    )


def _layers(settings: Settings) -> LayerStore:
    """Return the store of layers, each of which counts and goes with the templates that are made with it."""
    templates = settings.data / "templates"
    return LayerStore(
        settings.data / "layers",
        settings.packages.cache_mib,
        attached=lambda digest: sum(
            record.stored_bytes for record in stored_templates(templates) if digest in record.layers
        ),
        detach=lambda digest: remove_templates(templates, lambda record: digest in record.layers),
    )
