"""What a driver is: the interface between Emberbox and a virtual machine monitor (VMM).

A frozen `MachineSpec` goes in, a running `Machine` comes out. What only some drivers can do is a
Protocol of its own (`SnapshotDriver`, `PreparingSnapshot`, `AdoptingDriver`; `PartingMachine`,
`ReclaimingMachine`, `ResizableMachine`, `MeasuredMachine`), never a stub that raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from emberbox.bounds import MACHINE_MIB, VCPUS
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
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


class TimerState(StrEnum):
    """What `TimedMachine.timer` tells."""

    UNSET = "unset"
    """The kernel has not come to it."""
    MEASURING = "measuring"
    """It is as the measurement leaves it: that is being made, or came to nothing."""
    SET = "set"
    """The kernel takes its interrupts from it."""


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
    """A TAP device that exists already, and the guest's MAC address (`02:…`, locally administered).

    Raises `InvalidInput` for what Linux takes for neither.
    """

    tap: str
    mac: str
    netns: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.tap.encode(errors="replace")) <= 15 or re.search(r"[/\s\0]", self.tap):
            raise InvalidInput(
                f"{self.tap!r}: a TAP device's name has 1 to 15 bytes without '/' and white space"
            )
        if not _MAC.fullmatch(self.mac):
            raise InvalidInput(
                f"{self.mac!r}: a MAC address has six pairs of hexadecimal digits with ':' between them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Bounds of a machine's input and output; None for no bound.

    Raises `InvalidInput` for what is not positive.

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
        run_dir: A fresh folder of this machine alone; holds its sockets and console log. Its owner
            removes it.
        vcpus: As `bounds.VCPUS`.
        memory_mib: As `bounds.MACHINE_MIB`.
        kernel: ELF vmlinux or bzImage.
        initramfs: cpio archive with the agent as /init.
        drives: At most 4.
        kernel_args: Appended to what the driver itself needs.
        network: None for no network device at all.
        console_bytes: Bound of the console log; what the guest writes beyond it is dropped.
        survive_parent: False ends the VMM with the process that started it.
        rates: Bounds of disks and network.
        memory_max_mib: How far a `ResizableMachine` may grow; None for not at all. Other drivers
            pass it over.
        talkative: Whether the guest's kernel prints all that it does to the console, which takes
            longer; else its last words alone. Of a clone, its template decides.
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
    survive_parent: bool = False
    rates: Rates = field(default_factory=Rates)
    memory_max_mib: int | None = None
    talkative: bool = False

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InvalidInput(f"machine id {self.id!r}: 1 to 63 of a-z, 0-9 and '-', not starting with '-'")
        VCPUS.check("vcpus", self.vcpus)
        MACHINE_MIB.check("memory_mib", self.memory_mib)
        _between("console_bytes", self.console_bytes, 4096, 64 * 1024 * 1024)
        if self.memory_max_mib is not None:
            _between("memory_max_mib", self.memory_max_mib, self.memory_mib, MACHINE_MIB.most)
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
        """End the VMM process and wait until it is gone.

        Repeating is harmless; finishes even when cancelled.
        """

    async def wait(self) -> int:
        """Wait for the VMM process to end; returns its exit code (negative: the signal)."""

    def poll(self) -> MachineState:
        """Tell the state without blocking."""

    def state(self) -> dict[str, Any]:
        """JSON-ready values from which `AdoptingDriver.adopt` finds the machine again."""

    def console(self) -> str:
        """What the guest printed so far, for diagnosis; bytes that are not text are replaced.

        It is hostile: see `guest_text`.
        """

    def vmm_log(self) -> str:
        """The end of the VMM's own log and of its standard error so far."""

    async def trouble(self) -> str | None:
        """Return the VMM's own reason why its guest does not run; None where it knows none.

        Names no path. None when it knows of nothing, or does not answer. Never raises.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """What a guest tells about its memory.

    It comes from the guest: good for decisions about that guest alone.

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
        """Ask the guest to keep about `leave_mib`; None gives all back to it.

        Returns when the guest was asked. A guest that needs more takes it by itself. Repeating is
        harmless. Waits, bounded, for the driver of a guest that boots. Raises `VmmError`;
        `VmmNotReady` when the driver is not up yet.
        """

    async def memory_use(self) -> MemoryUse:
        """Tell what the guest holds. Raises `VmmError`."""


@runtime_checkable
class ResizableMachine(Protocol):
    """A machine that gets more memory, or less, while it runs."""

    async def resize_memory(self, memory_mib: int) -> None:
        """Ask for `memory_mib`, from the spec's `memory_mib` to its `memory_max_mib`.

        Returns when the guest was asked. Waits, bounded, for the driver of a guest that boots.
        Raises `InvalidInput` beyond these bounds, `VmmError` when the VMM refuses; `VmmNotReady`
        when the driver is not up yet.
        """


@runtime_checkable
class MeasuredMachine(Protocol):
    """A machine whose VMM counts what it does."""

    async def counters(self) -> dict[str, int]:
        """Return the VMM's counters since its start, by dotted names such as `block.read_bytes`."""


@runtime_checkable
class BoundedMachine(Protocol):
    """A machine whose VMM has a bound of its own for the host's memory."""

    def overran(self) -> bool:
        """Tell whether its VMM came to that bound, so that the kernel may have killed it for its own use.

        False where that is not known, and after `Machine.kill`. Never raises.
        """


@runtime_checkable
class PartingMachine(Protocol):
    """A machine whose guest learns apart from the data, and maybe later, who is at its channel."""

    async def part(self, close: Callable[[], Awaitable[object]]) -> None:
        """Close the host's end of the channel by `close`, and wait until the guest awaits the next host.

        A machine is frozen only after this: a clone's agent that learns late of the first host's
        going would take it for the going of its own (spec/guest-protocol.md, section 2). Raises
        `VmmDied` or `VmmTimeout`; the channel is closed anyway.
        """


@runtime_checkable
class TimedMachine(Protocol):
    """A machine whose kernel measures its interrupt timer at boot, by a clock that runs on.

    On a busy host it finds another frequency than there is, or none, and then hangs.
    """

    @property
    def timer_hz(self) -> float | None:
        """The frequency that the kernel should find, in Hz; None where it is told, or need not know."""

    def settle(self) -> None:
        """Note that its kernel has measured: others no longer wait for the processor behind it.

        Repeating is harmless.
        """

    async def timer(self) -> TimerState | None:
        """Tell how far its first processor's timer is. None when the VMM does not answer. Never raises."""


async def part(machine: Machine, close: Callable[[], Awaitable[object]]) -> None:
    """Close the host's end of a machine's channel by `close`, and leave the machine ready to be frozen.

    Raises `VmmError`.
    """
    if isinstance(machine, PartingMachine):
        await machine.part(close)
    else:
        await close()


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
        reason: Why this accelerator, or why not usable; for people.
        accelerator: `kvm` or `tcg`; None when not usable.
        version: The VMM's own version text; None when absent.
        mend: The one command that makes it usable or faster; None when there is none.
    """

    usable: bool
    reason: str
    accelerator: str | None = None
    version: str | None = None
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
        """Write a template machine's device state to `state`; the machine is gone afterwards.

        Raises `SnapshotFailed`; then the machine is killed and `state` removed.
        """

    async def open_snapshot(self, snapshot: Snapshot) -> LoadedSnapshot:
        """Make a snapshot ready for any number of clones (checks it, pins its memory).

        Raises `SnapshotFailed`.
        """


class LoadedSnapshot(Protocol):
    """A snapshot that clones are made from."""

    async def restore(self, spec: MachineSpec) -> Machine:
        """Start a clone; it runs when this returns.

        `spec` must equal the template's but for id, run_dir and network.
        Raises `SnapshotFailed` or `VmmStartFailed` with nothing left behind; safe to cancel.
        """

    async def close(self) -> None:
        """Let go of the memory. Clones that live go on."""


@runtime_checkable
class PreparingSnapshot(Protocol):
    """A loaded snapshot whose clones' VMMs can be started before there is anything to run."""

    async def prepare(self, spec: MachineSpec) -> Standby:
        """Start the VMM of a clone, shut in and bounded as any, with no guest in it.

        `spec` as for `LoadedSnapshot.restore`. Its process carries the machine's id from then on,
        by which leftovers are found. Raises `SnapshotFailed` or `VmmStartFailed` with nothing left
        behind; safe to cancel.
        """


class Standby(Protocol):
    """A started VMM that waits for its guest.

    It ends by `restore` or `discard`, and with the process that started it.
    """

    @property
    def spec(self) -> MachineSpec:
        """What its machine will be made from."""

    @property
    def pid(self) -> int:
        """Host pid of the VMM process itself."""

    @property
    def alive(self) -> bool:
        """Whether the process still waits. Does not block."""

    async def restore(self) -> Machine:
        """Load the snapshot into it; the clone runs when this returns.

        Once only; raises as `LoadedSnapshot.restore` does.
        """

    async def discard(self) -> None:
        """End the process and give back what it held.

        Repeating is harmless, also after `restore`, whose machine goes on.
        """


@runtime_checkable
class AdoptingDriver(Protocol):
    """A driver that finds machines again after its own process was restarted."""

    async def adopt(self, state: dict[str, Any]) -> Machine | None:
        """Take over the machine that `state` (from `Machine.state`) describes; None when it is gone.

        Never touches a process that is not that very machine: pid, start time and command line are compared.
        """
