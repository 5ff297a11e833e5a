"""The QEMU driver: cold boots, templates, clones, adoption."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import EmberboxError, InvalidInput, RequirementMissing
from emberbox.tasks import UndoStack
from emberbox.vmm import confinement
from emberbox.vmm.base import DriverReport, Machine, MachineSpec, Snapshot
from emberbox.vmm.leftovers import find_machine
from emberbox.vmm.memory_image import create_memory
from emberbox.vmm.qemu import host as qemu_host
from emberbox.vmm.qemu.launch import Launched, Memory, QemuHost, control_socket, explained, launch
from emberbox.vmm.qemu.machine import QemuMachine
from emberbox.vmm.qemu.qmp import Qmp
from emberbox.vmm.qemu.snapshot import QemuLoadedSnapshot, save
from emberbox.vmm.recorded import spec_from_json

if TYPE_CHECKING:
    from emberbox.vmm.acceleration import Acceleration
    from emberbox.vmm.process import VmmProcess

_log = logging.getLogger(__name__)

_START_S = 30.0
_ADOPT_S = 5.0


class QemuDriver:
    """Starts machines in QEMU, each shut in for itself. A `Driver`, `SnapshotDriver` and `AdoptingDriver`.

    Args:
        folder: Where the jail root and what was probed are kept; shared by all engines of this host that use the same data
        folder.
        accelerator: `kvm` or `tcg`; None to find out which works.
        cpus: CPUs' worth of time for each machine, by its control group; None for no bound.
        uid_base: uid of slot 0, when we are root; the 10,000 from there belong to VMMs.
        confine: False runs QEMU with our own rights. Only for tests that prove the confinement.
    """

    name = "qemu"

    def __init__(
        self,
        folder: Path,
        *,
        accelerator: str | None = None,
        cpus: float | None = None,
        uid_base: int = confinement.UID_BASE,
        confine: bool = True,
    ) -> None:
        if accelerator not in (None, "kvm", "tcg"):
            raise InvalidInput(f"the accelerator must be kvm or tcg, not {accelerator!r}")
        self._folder = folder
        self._accelerator = accelerator
        self._cpus = cpus
        self._uid_base = uid_base
        self._confine = confine
        self._lock = asyncio.Lock()
        self._found: tuple[QemuHost, Acceleration] | None = None

    async def probe(self) -> DriverReport:
        """Find out what works here; up to a few seconds the first time. Never raises for what the host lacks."""
        try:
            host, acceleration = await self._examined()
        except RequirementMissing as error:
            return DriverReport(usable=False, accelerator=None, version=None, reason=error.message, mend=error.mend)
        except EmberboxError as error:
            return DriverReport(usable=False, accelerator=None, version=None, reason=error.message)
        bounded = (
            ""
            if not self._confine or host.cgroups is not None
            else "; no control groups, so memory is bounded by the guest alone"
        )
        return DriverReport(
            usable=True, accelerator=acceleration.name, version=host.version, reason=acceleration.reason + bounded
        )

    async def start(self, spec: MachineSpec) -> QemuMachine:
        """Boot a machine cold; its kernel runs when this returns.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        host, _ = await self._examined()
        return await _boot(host, spec)

    async def start_template(self, spec: MachineSpec, memory: Path) -> QemuMachine:
        """Boot a machine whose memory lives in the new file `memory`, which is the caller's from then on.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        host, _ = await self._examined()
        with explained(spec, "did not start"):
            descriptor = create_memory(memory, spec.memory_mib * 1024 * 1024, host.uid(spec))
        try:
            return await _boot(host, spec, Memory(descriptor=descriptor, shared=True), memory)
        except BaseException:
            _remove(memory)
            raise
        finally:
            os.close(descriptor)

    async def snapshot(self, machine: Machine, state: Path) -> Snapshot:
        """Write the device state of a template to the new file `state`, in milliseconds; the machine is gone afterwards.

        Also writes `<state>.json`, by which changed files are noticed. Raises `SnapshotFailed`; then the machine is killed and
        both are removed.
        """
        host, _ = await self._examined()
        return await save(host, _ours(machine), state)

    async def open_snapshot(self, snapshot: Snapshot) -> QemuLoadedSnapshot:
        """Check a snapshot and copy its memory to where no clone can change it. Raises `SnapshotFailed`; safe to cancel."""
        host, _ = await self._examined()
        return await QemuLoadedSnapshot.open(host, snapshot)

    async def adopt(self, state: dict[str, Any]) -> QemuMachine | None:
        """Take over the machine that `state` describes; None when it is gone.

        Raises `VmmDied` or `VmmTimeout` when it does not answer.
        """
        try:
            spec = spec_from_json(state["spec"])
            pid, start_time = int(state["pid"]), int(state["start_time"])
            memory = None if state.get("memory") is None else Path(state["memory"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("this is not the state of a QEMU machine", detail=str(error)) from error
        host, _ = await self._examined()
        process = find_machine(pid, start_time, spec.id)
        if process is None:
            return None
        try:
            return await _reconnect(host, spec, process, memory)
        except BaseException:
            process.release()
            raise

    async def _examined(self) -> tuple[QemuHost, Acceleration]:
        async with self._lock:
            if self._found is None:
                self._found = await qemu_host.examine(
                    self._folder, confine=self._confine, accelerator=self._accelerator, uid_base=self._uid_base, cpus=self._cpus
                )
            return self._found


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _ours(machine: Machine) -> QemuMachine:
    if not isinstance(machine, QemuMachine):
        raise InvalidInput("only a machine of the QEMU driver can be frozen by it")
    return machine


async def _boot(host: QemuHost, spec: MachineSpec, memory: Memory | None = None, file: Path | None = None) -> QemuMachine:
    undo = UndoStack()
    try:
        with explained(spec, "did not start"):
            launched = await launch(host, spec, memory=memory, undo=undo)
            await launched.control.execute("cont", timeout_s=_START_S)
            machine = QemuMachine(spec, launched, memory=file)
            machine.running()
    except BaseException:
        await undo.close()
        raise
    _log.info("machine booted", extra={"action": "vmm.start", "machine": spec.id, "pid": machine.pid})
    return machine


async def _reconnect(host: QemuHost, spec: MachineSpec, process: VmmProcess, memory: Path | None) -> QemuMachine:
    control = Qmp.connect(control_socket(spec.run_dir))
    try:
        status = await control.execute("query-status", timeout_s=_ADOPT_S)
    except BaseException:
        await control.close()
        raise
    undo = UndoStack()
    group = None if host.cgroups is None else host.cgroups.find(spec.id)
    if group is not None:
        undo.push(group.remove)
    undo.push(process.kill)
    undo.push(control.close)
    machine = QemuMachine(spec, Launched(process=process, confined=False, control=control, group=group, undo=undo), memory=memory)
    machine.take_event("RESUME" if status.get("running") else "STOP", {})
    _log.info("machine adopted", extra={"action": "vmm.adopt", "machine": spec.id, "pid": process.pid})
    return machine
