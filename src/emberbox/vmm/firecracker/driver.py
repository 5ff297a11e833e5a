"""The Firecracker driver: cold boots, templates, clones, adoption."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput, VmmError, VmmStartFailed
from emberbox.tasks import UndoStack, shielded
from emberbox.vmm.base import MachineState, Rates
from emberbox.vmm.driver import USUAL, VmmDriver
from emberbox.vmm.failures import told_as, undone_on_failure
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.host import FirecrackerHost, examine
from emberbox.vmm.firecracker.jailer.jail import MachineJail, open_pipe
from emberbox.vmm.firecracker.launch import (
    Launched,
    explained,
    launch,
    listen,
    make_jail,
    open_api,
    open_log,
)
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.firecracker.mark import MARK
from emberbox.vmm.firecracker.pipes import MetricsReader
from emberbox.vmm.firecracker.snapshot import STATE_BYTES, FirecrackerLoadedSnapshot, save
from emberbox.vmm.process.bounds import longest_drive
from emberbox.vmm.process.leftovers import find_machine
from emberbox.vmm.recorded import machine_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import Machine, MachineSpec, Snapshot
    from emberbox.vmm.driver import DriverOptions
    from emberbox.vmm.kvm.acceleration import Acceleration
    from emberbox.vmm.process.process import VmmProcess

_log = logging.getLogger(__name__)

_READY_S = 5.0
_MIB = 1024 * 1024


class FirecrackerDriver(VmmDriver[FirecrackerHost]):
    """Starts machines in Firecracker, each under its jailer.

    A `Driver`, `SnapshotDriver` and `AdoptingDriver`. Needs root.

    Args:
        folder: Firecracker is looked for in its folder `firecracker`.
        options: Its accelerator is KVM alone.
        firecracker: The binary; None to look in the folder and on PATH.
        jailer: Its jailer; the same.
    """

    name = "firecracker"

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
        host, _ = await self._examined()
        return await _boot(host, spec)

    async def start_template(self, spec: MachineSpec, memory: Path) -> FirecrackerMachine:
        """Boot a machine whose memory `snapshot` writes to the new file `memory`.

        Its devices have no bounds of rate.
        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        host, _ = await self._examined()
        if memory.exists():
            raise VmmStartFailed(f"the memory file {memory} exists already")
        return await _boot(host, spec, memory)

    async def snapshot(self, machine: Machine, state: Path) -> Snapshot:
        """Write memory and device state of a template; the machine is gone afterwards.

        Also writes `<state>.json`, by which changed files are noticed. Raises `SnapshotFailed`;
        then the machine is killed and all of them are removed.
        """
        host, _ = await self._examined()
        if not isinstance(machine, FirecrackerMachine):
            raise InvalidInput("only a machine of the Firecracker driver can be frozen by it")
        return await save(host, machine, state)

    async def open_snapshot(self, snapshot: Snapshot) -> FirecrackerLoadedSnapshot:
        """Check a snapshot and hold on to its files. Raises `SnapshotFailed`; safe to cancel."""
        host, _ = await self._examined()
        return await FirecrackerLoadedSnapshot.open(host, snapshot)

    async def adopt(self, state: dict[str, Any]) -> FirecrackerMachine | None:
        """Take over the machine that `state` describes; None when it is gone.

        Raises `VmmDied` or `VmmTimeout` when it does not answer.
        """
        recorded = machine_from_json(self.name, state)
        restored = bool(state.get("restored"))
        host, _ = await self._examined()
        process = find_machine(MARK, recorded.pid, recorded.start_time, recorded.spec.id)
        if process is None:
            return None
        undo = UndoStack()
        try:
            return await _reconnect(host, recorded.spec, process, recorded.memory, undo, restored=restored)
        except BaseException:
            await undo.close()
            process.release()
            raise

    async def _examine(self) -> tuple[FirecrackerHost, Acceleration]:
        return await examine(self._folder, self._options, firecracker=self._firecracker, jailer=self._jailer)


async def _boot(host: FirecrackerHost, spec: MachineSpec, memory: Path | None = None) -> FirecrackerMachine:
    undo = UndoStack()
    async with undone_on_failure(undo.close):
        with told_as(VmmStartFailed, spec, "did not start"):
            machine = await _booted(host, spec, memory, undo)
    _log.info("machine booted", extra={"action": "vmm.start", "machine": spec.id, "pid": machine.pid})
    return machine


async def _booted(
    host: FirecrackerHost, spec: MachineSpec, memory: Path | None, undo: UndoStack
) -> FirecrackerMachine:
    # To its end: what is still being made while it is undone would be left behind.
    jail = await shielded(asyncio.to_thread(_prepare, host, spec, undo))
    frozen = 0 if memory is None else max(hardware.memory_file_mib(spec) * _MIB, STATE_BYTES)
    file_bytes = max(frozen, longest_drive(spec))
    launched = await launch(host, spec, jail, file_bytes=file_bytes, undo=undo, freezes=memory is not None)
    try:
        await launched.configure(hardware.boot(spec, Rates() if memory else spec.rates))
        await asyncio.to_thread(jail.seal, freezes=memory is not None)
    except VmmError as error:
        raise await explained(spec, launched.process, launched.log, error) from error
    machine = FirecrackerMachine(spec, launched, memory=memory)
    machine.running()
    return machine


def _prepare(host: FirecrackerHost, spec: MachineSpec, undo: UndoStack) -> MachineJail:
    jail = make_jail(host, spec, undo)
    jail.share(spec.kernel, hardware.KERNEL)
    jail.share(spec.initramfs, hardware.INITRAMFS)
    return jail


async def _reconnect(
    host: FirecrackerHost,
    spec: MachineSpec,
    process: VmmProcess,
    memory: Path | None,
    undo: UndoStack,
    *,
    restored: bool,
) -> FirecrackerMachine:
    jail = MachineJail(spec.run_dir, host.entry.name, spec.id, host.uid(spec.slot))
    log, metrics = open_log(spec), MetricsReader()
    api = open_api(host, spec, jail, undo)
    adopted = UndoStack()
    await api.ready(_READY_S, lambda: not process.ended)
    told = await api.state()
    # From here on, what undoes the machine belongs to it: a failure before leaves it running.
    adopted.push(lambda: asyncio.to_thread(jail.remove))
    if host.cgroups is not None:
        adopted.push(host.cgroups.find(spec.id).remove)
    listen(spec, lambda name: open_pipe(jail.root / name), log, metrics, adopted)
    adopted.push(process.kill)
    adopted.push(api.close)
    launched = Launched(
        process=process,
        pid=process.pid,
        api=api,
        jail=jail,
        log=log,
        metrics=metrics,
        undo=adopted,
        restored=restored,
        pauses=host.pauses,
    )
    machine = FirecrackerMachine(spec, launched, memory=memory)
    machine.running(MachineState.PAUSED if told == "Paused" else MachineState.RUNNING)
    _log.info("machine adopted", extra={"action": "vmm.adopt", "machine": spec.id, "pid": process.pid})
    return machine
