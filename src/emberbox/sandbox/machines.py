"""Makes machines with an agent that answers: cold, or cloned from a template."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

from emberbox.errors import EmberboxError, GuestError
from emberbox.guest import GuestClient
from emberbox.model import MIB
from emberbox.tasks import UndoStack
from emberbox.vmm.base import Drive, MachineSpec
from emberbox.vmm.registry import rates_of

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.guest import PendingRequest
    from emberbox.images import Image
    from emberbox.sandbox.runfolder import RunFolder
    from emberbox.sandbox.slots import Slots
    from emberbox.vmm.base import Driver, LoadedSnapshot, Machine

_log = logging.getLogger(__name__)

KERNEL_ARGS = (
    # The kernel hands what it does not know to PID 1 as environment: the agent is neither to preempt itself by signals nor to
    # count processors.
    "GODEBUG=asyncpreemptoff=1,updatemaxprocs=0",
    # An emulator translates code for each address that it is found at: let it be found where it was.
    "norandmaps",
    # Bookkeeping and second walls that one tenant's own VM has no use for.
    "psi=0",
    "lsm=capability",
    "nowatchdog",
    "cgroup.memory=nokmem,nosocket",
    "hardened_usercopy=off",
    "transparent_hugepage=never",
)
"""What makes a guest start quickly, beyond what the driver itself needs."""

CLOCK_SLACK_NS = 10_000_000
"""A guest's clock that may be further off than this after its restore is set again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSize:
    """What a template is made for, besides its image.

    Args:
        vcpus: Virtual CPUs.
        memory_mib: Guest memory in MiB.
    """

    vcpus: int
    memory_mib: int


@dataclass(slots=True, kw_only=True)
class LiveMachine:
    """A machine, its agent, and what undoes both.

    Attributes:
        id: Its name among live machines.
        machine: The VM.
        guest: The agent's client.
        undo: Closing it ends the machine and gives back all that it held.
        source: Where it came from.
        queue_ms: How long the caller waited for a slot.
        boot_ms: From having a slot to a machine that takes requests.
        resume: The request that told a fresh clone who it is, until its answer was seen.
        resume_sent: When that was, by `time.perf_counter`.
        made: When it was made, by `time.monotonic`.
        reclaimed: Whether its guest was asked to give memory back.
    """

    id: str
    machine: Machine
    guest: GuestClient
    undo: UndoStack
    source: Literal["pool", "clone", "cold"]
    queue_ms: float = 0.0
    boot_ms: float = 0.0
    resume: PendingRequest[int] | None = None
    resume_sent: float = 0.0
    made: float = field(default_factory=time.monotonic)
    reclaimed: bool = False

    async def confirm(self, timeout_s: float) -> None:
        """Wait until the clone has said that it has its own entropy, clock and name. Repeating is free.

        Raises:
            GuestError: It did not; the machine must be ended.
        """
        if self.resume is None:
            return
        pending, self.resume = self.resume, None
        await pending.result(timeout_s)
        if (time.perf_counter() - self.resume_sent) * 1e9 > CLOCK_SLACK_NS:
            await self.guest.clock(time.time_ns(), timeout_s=timeout_s)


class MachineMaker:
    """Makes machines within the engine's slots.

    Args:
        driver: The VMM.
        folder: Where machines keep their sockets and logs.
        slots: The numbers of live machines.
        settings: Timeouts.
        launches: How many clones are made at the same moment.
    """

    def __init__(self, driver: Driver, folder: RunFolder, slots: Slots, settings: Settings, launches: int) -> None:
        self._driver = driver
        self._folder = folder
        self.slots = slots
        self._settings = settings
        self._rates = rates_of(settings.vmm)
        self._gate = asyncio.Semaphore(launches)
        self._name = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def _reserve(self, undo: UndoStack) -> tuple[str, int, Path]:
        slot = await self.slots.take(self._settings.capacity.queue_timeout_s)
        undo.push_call(self.slots.give_back, slot)
        name = f"{self._name}-{next(self._numbers)}"
        folder = self._folder.make(name)
        undo.push_call(self._folder.remove, folder)
        return name, slot, folder

    def spec(
        self,
        image: Image,
        size: MachineSize,
        name: str,
        slot: int,
        folder: Path,
        *,
        layers: tuple[Path, ...] = (),
        script_drive: Path | None = None,
    ) -> MachineSpec:
        """Return the spec of a machine of `image`; behind its root come the drives of `layers`, then `script_drive`."""
        paths = (image.rootfs, *layers, *((script_drive,) if script_drive is not None else ()))
        return MachineSpec(
            id=name,
            run_dir=folder,
            vcpus=size.vcpus,
            memory_mib=size.memory_mib,
            kernel=image.kernel,
            initramfs=image.initramfs,
            drives=tuple(Drive(path=path) for path in paths),
            kernel_args=(*KERNEL_ARGS, f"emberbox.layers={len(layers)}") if layers else KERNEL_ARGS,
            slot=slot,
            rates=self._rates,
        )

    async def boot(
        self,
        image: Image,
        size: MachineSize,
        *,
        memory: Path | None = None,
        disk_mib: int | None = None,
        layers: tuple[Path, ...] = (),
        script_drive: Path | None = None,
    ) -> LiveMachine:
        """Boot a machine and wait for its agent.

        Args:
            image: What to boot.
            size: How large.
            memory: Where the memory of a template lives; None for an ordinary machine.
            disk_mib: Bound of what the guest may write; None for the agent's default, half of its memory.
            layers: File systems that lie over the image's, the last one on top.
            script_drive: Raw image, mounted read-only at /mnt/script.

        Raises:
            VmmError, GuestError, CapacityExhausted: With nothing left behind.
        """
        begun = time.perf_counter()
        undo = UndoStack()
        try:
            name, slot, folder = await self._reserve(undo)
            queued = time.perf_counter()
            spec = self.spec(image, size, name, slot, folder, layers=layers, script_drive=script_drive)
            if memory is None:
                machine = await self._driver.start(spec)
            else:
                machine = await self._driver.start_template(spec, memory)  # type: ignore[attr-defined]
            undo.push(machine.kill)
            _remember(machine, folder)
            guest = await _attach(machine, undo)
            await guest.hello(timeout_s=self._settings.vmm.boot_timeout_s)
            timeout_s = self._settings.vmm.clone_timeout_s
            await guest.resume(**_identity(name, disk_mib), timeout_s=timeout_s)
        except BaseException as error:
            await _fail(undo, error)
            raise
        return LiveMachine(
            id=name, machine=machine, guest=guest, undo=undo, source="cold",
            queue_ms=(queued - begun) * 1000, boot_ms=(time.perf_counter() - queued) * 1000,
        )  # fmt: skip

    async def clone(
        self,
        snapshot: LoadedSnapshot,
        image: Image,
        size: MachineSize,
        *,
        layers: tuple[Path, ...] = (),
        disk_mib: int | None = None,
    ) -> LiveMachine:
        """Clone a machine from a template. It has been told who it is; `LiveMachine.confirm` waits for its answer.

        Requests that are sent before that are carried out after it, so a program never runs as a twin.

        Raises:
            VmmError, GuestError, SnapshotFailed, CapacityExhausted: With nothing left behind.
        """
        begun = time.perf_counter()
        undo = UndoStack()
        try:
            name, slot, folder = await self._reserve(undo)
            async with self._gate:
                queued = time.perf_counter()
                machine = await snapshot.restore(self.spec(image, size, name, slot, folder, layers=layers))
                undo.push(machine.kill)
                _remember(machine, folder)
                guest = await _attach(machine, undo)
                sent = time.perf_counter()
                pending = guest.start_resume(**_identity(name, disk_mib))
        except BaseException as error:
            await _fail(undo, error)
            raise
        return LiveMachine(
            id=name, machine=machine, guest=guest, undo=undo, source="clone",
            queue_ms=(queued - begun) * 1000, boot_ms=(time.perf_counter() - queued) * 1000, resume=pending, resume_sent=sent,
        )  # fmt: skip


class _Identity(TypedDict):
    entropy: bytes
    unix_ns: int
    hostname: str
    disk_bytes: int | None


def _identity(name: str, disk_mib: int | None) -> _Identity:
    """Return what tells a machine from its twins."""
    return {
        "entropy": os.urandom(64),
        "unix_ns": time.time_ns(),
        "hostname": f"ember-{name}",
        "disk_bytes": None if disk_mib is None else disk_mib * MIB,
    }


async def _attach(machine: Machine, undo: UndoStack) -> GuestClient:
    reader, writer = await machine.open_channel()
    guest = GuestClient.attach(reader, writer, name=machine.spec.id)
    undo.push(guest.close)
    return guest


def _remember(machine: Machine, folder: Path) -> None:
    """Leave what the next engine needs to end this machine, should this process be killed."""
    partial = folder / "machine.json.new"
    partial.write_text(json.dumps(machine.state()))
    partial.rename(folder / "machine.json")


async def _fail(undo: UndoStack, error: BaseException) -> None:
    if isinstance(error, GuestError):
        _log.warning("a machine did not come up: %s", error, extra={"action": "machine.failed"})
    elif isinstance(error, EmberboxError):
        _log.info("a machine was not made: %s", error, extra={"action": "machine.failed"})
    await undo.close()
