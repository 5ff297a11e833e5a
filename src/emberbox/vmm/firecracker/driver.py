"""The Firecracker driver: cold boots, templates, clones, adoption."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput, VmmStartFailed
from emberbox.tasks import UndoStack, shielded, undone_on_failure
from emberbox.vmm.base import MachineState, Rates
from emberbox.vmm.driver import USUAL, VmmDriver
from emberbox.vmm.failures import told_as
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.host import FirecrackerHost, examine
from emberbox.vmm.firecracker.launch import JailedFirecracker
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.firecracker.mark import MARK
from emberbox.vmm.firecracker.snapshot import STATE_BYTES, FirecrackerLoadedSnapshot, save
from emberbox.vmm.process.bounds import longest_drive

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import Machine, MachineSpec, Snapshot
    from emberbox.vmm.driver import DriverOptions
    from emberbox.vmm.kvm.acceleration import Acceleration
    from emberbox.vmm.process.process import VmmProcess
    from emberbox.vmm.recorded import RecordedMachine

_log = logging.getLogger(__name__)

_MIB = 1024 * 1024


class FirecrackerDriver(VmmDriver[FirecrackerHost, FirecrackerMachine]):
    """Starts machines in Firecracker, each under its jailer.

    A `Driver`, `SnapshotDriver` and `AdoptingDriver`. Needs root.

    Args:
        folder: Firecracker is looked for in its folder `firecracker`.
        options: Its accelerator is KVM alone.
        firecracker: The binary; None to look in the folder and on PATH.
        jailer: Its jailer; the same.
    """

    name = "firecracker"
    mark = MARK

    def __init__(
        self,
        folder: Path,
        options: DriverOptions = USUAL,
        *,
        firecracker: Path | None = None,
        jailer: Path | None = None,
    ) -> None:
        if options.accelerator not in (None, "kvm"):
            wanted = options.accelerator
            raise InvalidInput(f"Firecracker runs on kvm alone, not on {wanted!r}; use the driver qemu")
        super().__init__(folder, options)
        self._firecracker = firecracker
        self._jailer = jailer

    async def start(self, spec: MachineSpec) -> FirecrackerMachine:
        """Boot a machine cold; its kernel runs when this returns.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        return await _boot(await self._host(), spec)

    async def start_template(self, spec: MachineSpec, memory: Path) -> FirecrackerMachine:
        """Boot a machine whose memory `snapshot` writes to the new file `memory`.

        Its devices have no bounds of rate.
        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        if memory.exists():
            raise VmmStartFailed(f"the memory file {memory.name} exists already", detail=str(memory))
        return await _boot(await self._host(), spec, memory)

    async def snapshot(self, machine: Machine, state: Path) -> Snapshot:
        """Write memory and device state of a template; the machine is gone afterwards.

        Also writes `<state>.json`, by which changed files are noticed. Raises `SnapshotFailed`;
        then the machine is killed and all of them are removed.
        """
        if not isinstance(machine, FirecrackerMachine):
            raise InvalidInput("only a machine of the Firecracker driver can be frozen by it")
        return await save(await self._host(), machine, state)

    async def open_snapshot(self, snapshot: Snapshot) -> FirecrackerLoadedSnapshot:
        """Check a snapshot and hold on to its files. Raises `SnapshotFailed`; safe to cancel."""
        return await FirecrackerLoadedSnapshot.open(await self._host(), snapshot)

    async def _reconnect(
        self, host: FirecrackerHost, recorded: RecordedMachine, process: VmmProcess
    ) -> FirecrackerMachine:
        launched = JailedFirecracker(host, recorded.spec, UndoStack())
        launched.restored = recorded.restored
        state = await launched.reconnect(process)
        machine = FirecrackerMachine(launched, memory=recorded.memory)
        machine.running(MachineState.PAUSED if state == "Paused" else MachineState.RUNNING)
        return machine

    async def _examine(self) -> tuple[FirecrackerHost, Acceleration]:
        return await examine(self._folder, self._options, firecracker=self._firecracker, jailer=self._jailer)


async def _boot(host: FirecrackerHost, spec: MachineSpec, memory: Path | None = None) -> FirecrackerMachine:
    launched = JailedFirecracker(host, spec, UndoStack())
    freezes = memory is not None
    async with undone_on_failure(launched.undo.close):
        with told_as(VmmStartFailed, spec, "did not start"):
            # To its end: what is still being made while it is undone would be left behind.
            await shielded(asyncio.to_thread(_prepare, launched))
            frozen = max(hardware.memory_file_mib(spec) * _MIB, STATE_BYTES) if freezes else 0
            await launched.launch(file_bytes=max(frozen, longest_drive(spec)), freezes=freezes)
            async with launched.explained():
                await launched.configure(hardware.boot(spec, Rates() if freezes else spec.rates))
                await asyncio.to_thread(launched.jail.seal, freezes=freezes)
            machine = FirecrackerMachine(launched, memory=memory)
            machine.running()
    _log.info("machine booted", extra={"action": "vmm.start", "machine": spec.id, "pid": machine.pid})
    return machine


def _prepare(launched: JailedFirecracker) -> None:
    launched.make_jail()
    launched.jail.share(launched.spec.kernel, hardware.KERNEL)
    launched.jail.share(launched.spec.initramfs, hardware.INITRAMFS)
