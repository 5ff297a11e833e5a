"""What a driver is: the interface between Emberbox and a virtual machine monitor (VMM).

A frozen `MachineSpec` goes in, a running `Machine` comes out. What only some drivers can do is a Protocol of its own
(`SnapshotDriver`, `AdoptingDriver`; `ReclaimingMachine`, `ResizableMachine`, `MeasuredMachine`), never a stub that raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class MachineState(StrEnum):
    """What `Machine.poll` tells. A machine only moves down this list, but for running ⇄ paused."""

    STARTING = "starting"
    """The VMM process runs; the guest does not yet."""
    RUNNING = "running"
    """The guest's vCPUs run. Says nothing about the agent."""
    PAUSED = "paused"
    """The guest's vCPUs are stopped; memory is kept."""
    EXITED = "exited"
    """The VMM process has ended by itself: the guest rebooted, panicked or powered off, or the VMM failed."""
    KILLED = "killed"
    """The VMM process has ended because `kill` was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A block device of the guest, in order: /dev/vda, /dev/vdb, …

    Args:
        path: A raw image file.
        read_only: True shares the file among any number of machines.
    """

    path: Path
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachment:
    """A TAP device that exists already, and the guest's MAC address (`02:…`, locally administered)."""

    tap: str
    mac: str
    netns: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Bounds of a machine's input and output; None for no bound. Raises `InvalidInput` for what is not positive.

    Args:
        disk_bytes_per_s: Of each drive, reading and writing together.
        disk_ops_per_s: Requests of each drive.
        network_bytes_per_s: Of the network device, for each direction.
    """

    disk_bytes_per_s: int | None = None
    disk_ops_per_s: int | None = None
    network_bytes_per_s: int | None = None

    def __post_init__(self) -> None:
        for name in ("disk_bytes_per_s", "disk_ops_per_s", "network_bytes_per_s"):
            value = getattr(self, name)
            if value is not None:
                _between(name, value, 1, 2**40)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """All that a machine is made from. Checks itself; raises `InvalidInput`.

    Args:
        id: Unique among live machines; lower-case letters, digits, hyphens; at most 63.
        run_dir: A fresh folder of this machine alone; holds its sockets and console log. Its owner removes it.
        vcpus: 1 to 32.
        memory_mib: 64 to 65,536.
        kernel: ELF vmlinux or bzImage.
        initramfs: cpio archive with the agent as /init.
        drives: At most 4.
        kernel_args: Appended to what the driver itself needs.
        network: None for no network device at all.
        console_bytes: Bound of the console log; what the guest writes beyond it is dropped.
        slot: Number of the machine among the live ones; the driver derives an unprivileged uid from it.
        survive_parent: False ends the VMM with the process that started it.
        rates: Bounds of disks and network.
        memory_max_mib: How far a `ResizableMachine` may grow; None for not at all. Other drivers pass it over.
    """

    id: str
    run_dir: Path
    vcpus: int
    memory_mib: int
    kernel: Path
    initramfs: Path
    drives: tuple[Drive, ...] = ()
    kernel_args: tuple[str, ...] = ()
    network: NetworkAttachment | None = None
    console_bytes: int = 262_144
    slot: int = 0
    survive_parent: bool = False
    rates: Rates = field(default_factory=Rates)
    memory_max_mib: int | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InvalidInput(f"machine id {self.id!r}: 1 to 63 of a-z, 0-9 and '-', not starting with '-'")
        _between("vcpus", self.vcpus, 1, 32)
        _between("memory_mib", self.memory_mib, 64, 65_536)
        _between("console_bytes", self.console_bytes, 4096, 64 * 1024 * 1024)
        _between("slot", self.slot, 0, 9999)
        if self.memory_max_mib is not None:
            _between("memory_max_mib", self.memory_max_mib, self.memory_mib, 65_536)
        if len(self.drives) > 4:
            raise InvalidInput(f"a machine has at most 4 drives, not {len(self.drives)}")
        for arg in self.kernel_args:
            if not arg or any(c.isspace() or ord(c) < 32 for c in arg):
                raise InvalidInput(f"kernel argument {arg!r}: no spaces or control characters")

    @property
    def channel_socket(self) -> Path:
        """The Unix socket at which the host reaches the agent's byte stream."""
        return self.run_dir / "agent.sock"

    @property
    def console_log(self) -> Path:
        """What the guest's kernel printed, at most `console_bytes`."""
        return self.run_dir / "console.log"


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidInput(f"{name} must be {low} to {high}, not {value}")


class Machine(Protocol):
    """A virtual machine that was started, restored or adopted."""

    @property
    def spec(self) -> MachineSpec:
        """What it was made from."""

    @property
    def pid(self) -> int:
        """Host pid of the VMM process itself (not of a wrapper around it)."""

    async def open_channel(self) -> tuple[StreamReader, StreamWriter]:
        """Connect to the agent's byte stream. One connection at a time; raises `VmmDied` or `VmmTimeout`.

        May wait, bounded, until the guest's agent listens.
        """

    async def pause(self) -> None:
        """Stop the vCPUs. Repeating is harmless."""

    async def resume(self) -> None:
        """Let the vCPUs run on. Repeating is harmless."""

    async def kill(self) -> None:
        """End the VMM process and wait until it is gone. Repeating is harmless; finishes even when cancelled."""

    async def wait(self) -> int:
        """Wait for the VMM process to end; returns its exit code (negative: the signal)."""

    def poll(self) -> MachineState:
        """Tell the state without blocking."""

    def state(self) -> dict[str, Any]:
        """JSON-ready values from which `AdoptingDriver.adopt` finds the machine again."""

    def console(self) -> str:
        """What the guest printed so far, for diagnosis; bytes that are not text are replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """What a guest tells about its memory. It comes from the guest: good for decisions about that guest alone.

    Args:
        held_mib: What the guest may use now.
        available_mib: What it could give away without swapping; None when it has not told.
        free_mib: What it does not use for anything; None when it has not told.
    """

    held_mib: int
    available_mib: int | None = None
    free_mib: int | None = None


@runtime_checkable
class ReclaimingMachine(Protocol):
    """A machine whose guest can be asked to give memory back to the host while it is not needed."""

    async def reclaim(self, leave_mib: int | None) -> None:
        """Ask the guest to keep about `leave_mib`; None gives all back to it. Returns when the guest was asked.

        A guest that needs more takes it by itself. Repeating is harmless. Raises `VmmError`.
        """

    async def memory_use(self) -> MemoryUse:
        """Tell what the guest holds. Raises `VmmError`."""


@runtime_checkable
class ResizableMachine(Protocol):
    """A machine that gets more memory, or less, while it runs."""

    async def resize_memory(self, memory_mib: int) -> None:
        """Ask for `memory_mib`, from the spec's `memory_mib` to its `memory_max_mib`. Returns when the guest was asked.

        Raises `InvalidInput` beyond these bounds, `VmmError` when the VMM refuses.
        """


@runtime_checkable
class MeasuredMachine(Protocol):
    """A machine whose VMM counts what it does."""

    async def counters(self) -> dict[str, int]:
        """Return what the VMM has counted since it started, by names joined with dots, such as `block.read_bytes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A machine frozen to files. The files never change while a machine restored from them lives.

    Args:
        memory: Guest memory, sparse, as long as the machine's memory.
        state: Device state.
        vmm_version: A snapshot is restored only by the version that made it.
    """

    memory: Path
    state: Path
    vmm_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """What probing a driver found.

    Args:
        usable: Whether machines can be started.
        accelerator: `kvm` or `tcg`; None when not usable.
        version: The VMM's own version text; None when absent.
        reason: Why this accelerator, or why not usable; for people.
        mend: The one command that makes it usable or faster; None when there is none.
    """

    usable: bool
    accelerator: str | None
    version: str | None
    reason: str
    mend: str | None = None


class Driver(Protocol):
    """One VMM."""

    name: str

    async def probe(self) -> DriverReport:
        """Find out what works here by really running it. Bounded to seconds; never hangs."""

    async def start(self, spec: MachineSpec) -> Machine:
        """Boot a machine cold. Raises `VmmStartFailed` with nothing left behind; safe to cancel."""


@runtime_checkable
class SnapshotDriver(Protocol):
    """A driver that can freeze machines and clone them."""

    async def start_template(self, spec: MachineSpec, memory: Path) -> Machine:
        """Boot a machine whose memory is in the new file `memory` at the latest when `snapshot` returns."""

    async def snapshot(self, machine: Machine, state: Path) -> Snapshot:
        """Write the device state of a machine made by `start_template` to `state`; the machine is gone afterwards.

        Raises `SnapshotFailed`; then the machine is killed and `state` removed.
        """

    async def open_snapshot(self, snapshot: Snapshot) -> LoadedSnapshot:
        """Make a snapshot ready for any number of clones (checks it, pins its memory). Raises `SnapshotFailed`."""


class LoadedSnapshot(Protocol):
    """A snapshot that clones are made from."""

    async def restore(self, spec: MachineSpec) -> Machine:
        """Start a clone; it runs when this returns. `spec` must equal the template's but for id, run_dir, slot and network.

        Raises `SnapshotFailed` or `VmmStartFailed` with nothing left behind; safe to cancel.
        """

    async def close(self) -> None:
        """Let go of the memory. Clones that live go on."""


@runtime_checkable
class AdoptingDriver(Protocol):
    """A driver that finds machines again after its own process was restarted."""

    async def adopt(self, state: dict[str, Any]) -> Machine | None:
        """Take over the machine that `state` (from `Machine.state`) describes; None when it is gone.

        Never touches a process that is not that very machine: pid, start time and command line are compared.
        """
