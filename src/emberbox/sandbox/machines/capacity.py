"""How many machines of one engine live at once, and how much memory they may have together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.bounds import MEMORY_MIB
from emberbox.sandbox.machines.runfolder import SLOTS
from emberbox.vmm.process.bounds import all_machines_mib
from emberbox.vmm.process.host_memory import host_memory_mib

if TYPE_CHECKING:
    from emberbox.config import Settings

OVERHEAD_MIB = 64
"""About what a machine takes besides its guest's memory."""
_LEAST_MACHINES = 2
_TEMPLATES_SHARE = 10


def committed_mib(guest_mib: int) -> int:
    """Return what a machine with so much guest memory counts, in MiB: all that it may come to use."""
    return guest_mib + OVERHEAD_MIB


def templates_mib(settings: Settings) -> int:
    """Return how much memory open templates may hold, in MiB: what is set, else a tenth of the host's."""
    return settings.templates.memory_mib or host_memory_mib() // _TEMPLATES_SHARE


def machines_mib(settings: Settings) -> int:
    """Return how much memory live machines may have together, in MiB.

    That is what is set, and no more than the host has for all VMs. Left to the host, it is that
    without what templates may hold.
    """
    host_mib = all_machines_mib()
    return min(settings.capacity.memory_mib or host_mib - templates_mib(settings), host_mib)


def largest_guest_mib(settings: Settings) -> int:
    """Return the most memory that one guest can have here, in MiB."""
    return machines_mib(settings) - OVERHEAD_MIB


def machine_count(settings: Settings) -> int:
    """Return how many machines may live at once: what is set, else as many small ones as have memory."""
    wanted = settings.capacity.machines
    if wanted == 0:
        wanted = max(_LEAST_MACHINES, machines_mib(settings) // committed_mib(MEMORY_MIB.least))
    return min(wanted, SLOTS)
