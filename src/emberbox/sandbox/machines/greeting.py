"""The first words with a machine's agent."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, TypedDict

from emberbox.errors import GuestRequestFailed
from emberbox.guest import GuestClient
from emberbox.model import MIB

if TYPE_CHECKING:
    from emberbox.config import VmmSettings
    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import Machine

_LATER_S = 10.0
"""How much later than the watch, which can tell why, the greeting itself gives up."""
_PRINTK = "/proc/sys/kernel/printk"
_ALL_LEVELS = b"8\n"


async def attach(machine: Machine, undo: UndoStack) -> GuestClient:
    """Connect to the agent. Raises `VmmError`."""
    reader, writer = await machine.open_channel()
    guest = GuestClient.attach(reader, writer, name=machine.spec.id)
    undo.push(guest.close)
    return guest


async def greet(machine: Machine, undo: UndoStack, settings: VmmSettings) -> GuestClient:
    """Connect to the agent of a machine that boots and hear its hello, for as long as there is hope.

    Raises:
        BootFailed: It hangs, or has ended.
        GuestVersionMismatch: It speaks another version.
    """
    from emberbox.vmm.boots.watch import BootBounds, until_it_speaks

    async def speaking() -> GuestClient:
        guest = await attach(machine, undo)
        await guest.hello(timeout_s=settings.boot_timeout_s + _LATER_S)
        return guest

    bounds = BootBounds(
        cpu_s=settings.boot_cpu_s, idle_s=settings.boot_idle_s, wall_s=settings.boot_timeout_s
    )
    return await until_it_speaks(machine, speaking(), bounds)


class Identity(TypedDict):
    """What tells a machine from its twins, as `GuestClient.resume` takes it."""

    entropy: bytes
    unix_ns: int
    hostname: str
    disk_bytes: int | None


def identity(name: str, disk_mib: int | None) -> Identity:
    """Return a fresh identity.

    Args:
        name: The machine's.
        disk_mib: Bound of what its guest may write; None for the agent's default.
    """
    return {
        "entropy": os.urandom(64),
        "unix_ns": time.time_ns(),
        "hostname": f"ember-{name}",
        "disk_bytes": None if disk_mib is None else disk_mib * MIB,
    }


async def make_talkative(guest: GuestClient) -> None:
    """Have a clone's kernel print all it has to say to the console, where the image lets it.

    Its template's was told to be quiet.
    Source: the kernel's Documentation/admin-guide/sysctl/kernel.rst, `printk`.
    """
    with contextlib.suppress(GuestRequestFailed):
        await guest.write_file(_PRINTK, _ALL_LEVELS, user="root")
