"""Machines for the driver's own tests: the built Python image, without an engine."""

from __future__ import annotations

import itertools
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.guest import GuestClient
from emberbox.vmm.base import Drive, MachineSpec
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.registry import marks
from tests.leftovers import find_leftovers
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.images import Image
    from emberbox.vmm.base import Machine

MEMORY_MIB = 256
_numbers = itertools.count(9000)
MARK = f"test{os.getpid():x}"


def machine_spec(
    image: Image, folder: Path, *, survive_parent: bool = False, console_bytes: int = 262_144
) -> MachineSpec:
    """Return the spec of a new machine, with a run folder of its own under `folder`."""
    number = next(_numbers)
    run_dir = folder / f"m{number}"
    run_dir.mkdir(mode=0o700)
    return MachineSpec(
        id=f"{MARK}-{number}",
        run_dir=run_dir,
        vcpus=1,
        memory_mib=MEMORY_MIB,
        kernel=image.kernel,
        initramfs=image.initramfs,
        drives=(Drive(path=image.rootfs),),
        console_bytes=console_bytes,
        survive_parent=survive_parent,
    )


@asynccontextmanager
async def talk(machine: Machine) -> AsyncIterator[GuestClient]:
    """Connect to the machine's agent."""
    client = GuestClient(*await machine.open_channel())
    try:
        yield client
    finally:
        await client.close()


async def separate(client: GuestClient, machine: Machine) -> None:
    """Tell a fresh clone who it is."""
    await client.start_resume(
        entropy=os.urandom(64), unix_ns=1_800_000_000_000_000_000, hostname=machine.spec.id
    ).answer(PATIENCE_S)


def no_machine_left() -> None:
    """Fail when a VMM or a control group of this test process is left."""
    assert find_leftovers(marks(), MARK) == []
    groups = Cgroups()
    assert not groups.prepare() or groups.names(MARK) == []
