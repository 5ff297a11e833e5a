"""The QEMU driver: cold boots, templates, clones, adoption."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput
from emberbox.tasks import UndoStack, undone_on_failure
from emberbox.vmm.driver import USUAL, VmmDriver
from emberbox.vmm.qemu.host import examine
from emberbox.vmm.qemu.launch import ConfinedQemu, QemuHost, explained
from emberbox.vmm.qemu.machine import QemuMachine
from emberbox.vmm.qemu.program import MARK
from emberbox.vmm.qemu.snapshot import QemuLoadedSnapshot, save
from emberbox.vmm.snapshots.memory_image import create_memory

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import Machine, MachineSpec, Snapshot
    from emberbox.vmm.driver import DriverOptions
    from emberbox.vmm.kvm.acceleration import Acceleration
    from emberbox.vmm.process.process import VmmProcess
    from emberbox.vmm.recorded import RecordedMachine

_log = logging.getLogger(__name__)

_START_S = 30.0


class QemuDriver(VmmDriver[QemuHost, QemuMachine]):
    """Starts machines in QEMU, each shut in for itself. A `Driver`, `SnapshotDriver` and `AdoptingDriver`.

    Args:
        folder: Also keeps the jail root.
        options: Either accelerator will do. What is logged besides QEMU's messages: see `log_arguments`.
        confine: False runs QEMU with our own rights. Only for tests that prove the confinement.
    """

    name = "qemu"
    mark = MARK

    def __init__(self, folder: Path, options: DriverOptions = USUAL, *, confine: bool = True) -> None:
        if options.accelerator not in (None, "kvm", "tcg"):
            raise InvalidInput(f"the accelerator must be kvm or tcg, not {options.accelerator!r}")
        super().__init__(folder, options, confines=confine)

    async def start(self, spec: MachineSpec) -> QemuMachine:
        """Boot a machine cold; its kernel runs when this returns.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        return await _boot(await self._host(), spec)

    async def start_template(self, spec: MachineSpec, memory: Path) -> QemuMachine:
        """Boot a machine whose memory lives in the new file `memory`, which is the caller's from then on.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        host = await self._host()
        with explained(spec, "did not start"):
            descriptor = create_memory(memory, spec.memory_mib * 1024 * 1024)
        try:
            return await _boot(host, spec, descriptor, memory)
        except BaseException:
            memory.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    async def snapshot(self, machine: Machine, state: Path) -> Snapshot:
        """Write a template's device state to the new file `state`; the machine is gone afterwards.

        Also writes `<state>.json`, by which changed files are noticed. Raises `SnapshotFailed`;
        then the machine is killed and both are removed.
        """
        if not isinstance(machine, QemuMachine):
            raise InvalidInput("only a machine of the QEMU driver can be frozen by it")
        return await save(await self._host(), machine, state)

    async def open_snapshot(self, snapshot: Snapshot) -> QemuLoadedSnapshot:
        """Check a snapshot and copy its memory to where no clone can change it.

        Raises `SnapshotFailed`; safe to cancel.
        """
        return await QemuLoadedSnapshot.open(await self._host(), snapshot)

    async def _reconnect(self, host: QemuHost, recorded: RecordedMachine, process: VmmProcess) -> QemuMachine:
        launched = ConfinedQemu(host, recorded.spec, UndoStack())
        runs = await launched.reconnect(process)
        machine = QemuMachine(launched, memory=recorded.memory)
        machine.take_event("RESUME" if runs else "STOP", {})
        return machine

    async def _examine(self) -> tuple[QemuHost, Acceleration]:
        return await examine(self._folder, self._options, confine=self._confines)


async def _boot(
    host: QemuHost, spec: MachineSpec, memory: int | None = None, file: Path | None = None
) -> QemuMachine:
    launched = ConfinedQemu(host, spec, UndoStack())
    async with undone_on_failure(launched.undo.close):
        with explained(spec, "did not start"):
            await launched.launch(memory=memory)
            launched.hurry()
            await launched.control.execute("cont", timeout_s=_START_S)
            machine = QemuMachine(launched, memory=file, boots=True)
            machine.running()
    _log.info("machine booted", extra={"action": "vmm.start", "machine": spec.id, "pid": machine.pid})
    return machine
