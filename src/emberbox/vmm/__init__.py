"""Virtual machines: the driver interface, the drivers by name, and what finds and bounds VMM processes."""

from emberbox.vmm.base import (
    AdoptingDriver,
    Drive,
    Driver,
    DriverReport,
    LoadedSnapshot,
    Machine,
    MachineSpec,
    MachineState,
    MeasuredMachine,
    MemoryUse,
    NetworkAttachment,
    Rates,
    ReclaimingMachine,
    ResizableMachine,
    Snapshot,
    SnapshotDriver,
)
from emberbox.vmm.cgroup import Cgroups
from emberbox.vmm.leftovers import find_leftovers, kill_leftovers
from emberbox.vmm.registry import choose, choose_driver

__all__ = [
    "AdoptingDriver",
    "Cgroups",
    "Drive",
    "Driver",
    "DriverReport",
    "LoadedSnapshot",
    "Machine",
    "MachineSpec",
    "MachineState",
    "MeasuredMachine",
    "MemoryUse",
    "NetworkAttachment",
    "Rates",
    "ReclaimingMachine",
    "ResizableMachine",
    "Snapshot",
    "SnapshotDriver",
    "choose",
    "choose_driver",
    "find_leftovers",
    "kill_leftovers",
]
