"""The Firecracker driver: cold boots, templates, clones, adoption."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import EmberboxError, InvalidInput, RequirementMissing, VmmError, VmmStartFailed
from emberbox.tasks import UndoStack, shielded
from emberbox.vmm import confinement
from emberbox.vmm.base import DriverReport, Machine, MachineSpec, MachineState, Snapshot
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker import host as firecracker_host
from emberbox.vmm.firecracker.api import FirecrackerApi
from emberbox.vmm.firecracker.bodies import Action
from emberbox.vmm.firecracker.jail import MachineJail, open_pipe
from emberbox.vmm.firecracker.launch import Launched, explained, launch, listen_to_console, make_jail, pipes_of
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.firecracker.pipes import BoundedLog, MetricsReader, PipeReader
from emberbox.vmm.firecracker.snapshot import STATE_BYTES, FirecrackerLoadedSnapshot, save
from emberbox.vmm.leftovers import find_machine
from emberbox.vmm.recorded import spec_from_json
from emberbox.vmm.spawn import error_log

if TYPE_CHECKING:
    from emberbox.vmm.acceleration import Acceleration
    from emberbox.vmm.firecracker.host import FirecrackerHost
    from emberbox.vmm.process import VmmProcess

_log = logging.getLogger(__name__)

_READY_S = 5.0
_LOG_BYTES = 262_144
_MIB = 1024 * 1024


class FirecrackerDriver:
    """Starts machines in Firecracker, each under its jailer. A `Driver`, `SnapshotDriver` and `AdoptingDriver`. Needs root.

    Args:
        folder: `<data>/vmm`; Firecracker is looked for in its folder `firecracker`.
        accelerator: `kvm` takes hardware virtualization for granted; None proves it by running code.
        cpus: CPUs' worth of time for each machine, by its control group; None for no bound.
        uid_base: uid of slot 0; the 10,000 from there belong to VMMs.
        firecracker: The binary; None to look in the folder and on PATH.
        jailer: Its jailer; the same.
    """

    name = "firecracker"

    def __init__(
        self,
        folder: Path,
        *,
        accelerator: str | None = None,
        cpus: float | None = None,
        uid_base: int = confinement.UID_BASE,
        firecracker: Path | None = None,
        jailer: Path | None = None,
    ) -> None:
        if accelerator not in (None, "kvm"):
            raise InvalidInput(f"Firecracker runs on kvm alone, not on {accelerator!r}; use the driver qemu")
        self._folder = folder
        self._accelerator = accelerator
        self._cpus = cpus
        self._uid_base = uid_base
        self._firecracker = firecracker
        self._jailer = jailer
        self._lock = asyncio.Lock()
        self._found: tuple[FirecrackerHost, Acceleration] | None = None

    async def probe(self) -> DriverReport:
        """Find out whether it can be used here; up to a few seconds the first time. Never raises for what the host lacks."""
        try:
            host, acceleration = await self._examined()
        except RequirementMissing as error:
            return DriverReport(usable=False, accelerator=None, version=None, reason=error.message, mend=error.mend)
        except EmberboxError as error:
            return DriverReport(usable=False, accelerator=None, version=None, reason=error.message)
        bounded = "" if host.cgroups is not None else "; no control groups, so memory is bounded by the guest alone"
        return DriverReport(
            usable=True, accelerator=acceleration.name, version=host.version, reason=acceleration.reason + bounded
        )

    async def start(self, spec: MachineSpec) -> FirecrackerMachine:
        """Boot a machine cold; its kernel runs when this returns.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        host, _ = await self._examined()
        return await _boot(host, spec)

    async def start_template(self, spec: MachineSpec, memory: Path) -> FirecrackerMachine:
        """Boot a machine whose memory `snapshot` writes to the new file `memory`. Its devices have no bounds of rate.

        Raises `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        host, _ = await self._examined()
        if memory.exists():
            raise VmmStartFailed(f"the memory file {memory} exists already")
        return await _boot(host, spec, memory)

    async def snapshot(self, machine: Machine, state: Path) -> Snapshot:
        """Write memory and device state of a template; the machine is gone afterwards.

        Also writes `<state>.json`, by which changed files are noticed. Raises `SnapshotFailed`; then the machine is killed and
        all of them are removed.
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
        try:
            spec = spec_from_json(state["spec"])
            pid, start_time = int(state["pid"]), int(state["start_time"])
            memory = None if state.get("memory") is None else Path(state["memory"])
            restored = bool(state["restored"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("this is not the state of a Firecracker machine", detail=str(error)) from error
        host, _ = await self._examined()
        process = find_machine(pid, start_time, spec.id)
        if process is None:
            return None
        undo = UndoStack()
        try:
            return await _reconnect(host, spec, process, memory, undo, restored=restored)
        except BaseException:
            await undo.close()
            process.release()
            raise

    async def _examined(self) -> tuple[FirecrackerHost, Acceleration]:
        async with self._lock:
            if self._found is None:
                self._found = await firecracker_host.examine(
                    self._folder, firecracker=self._firecracker, jailer=self._jailer,
                    accelerator=self._accelerator, uid_base=self._uid_base, cpus=self._cpus,
                )  # fmt: skip
            return self._found


async def _boot(host: FirecrackerHost, spec: MachineSpec, memory: Path | None = None) -> FirecrackerMachine:
    undo = UndoStack()
    try:
        machine = await _booted(host, spec, memory, undo)
    except VmmStartFailed:
        await undo.close()
        raise
    except (VmmError, OSError, TimeoutError) as error:
        await undo.close()
        raise VmmStartFailed(f"virtual machine {spec.id} did not start: {error}", detail=repr(error)) from error
    except BaseException:
        await undo.close()
        raise
    _log.info("machine booted", extra={"action": "vmm.start", "machine": spec.id, "pid": machine.pid})
    return machine


async def _booted(host: FirecrackerHost, spec: MachineSpec, memory: Path | None, undo: UndoStack) -> FirecrackerMachine:
    # To its end: what is still being made while it is undone would be left behind.
    jail = await shielded(asyncio.to_thread(_prepare, host, spec, undo))
    written = [drive.path.stat().st_size for drive in spec.drives if not drive.read_only]
    file_bytes = max([0 if memory is None else max(hardware.memory_file_mib(spec) * _MIB, STATE_BYTES), *written])
    launched = await launch(host, spec, jail, file_bytes=file_bytes, undo=undo, freezes=memory is not None)
    try:
        await launched.configure(hardware.boot(spec, rates=None if memory else spec.rates))
        await launched.configure([hardware.balloon()], optional=hardware.BALLOON_OPTIONAL)
        await launched.configure([Action(action_type="InstanceStart")])
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
    host: FirecrackerHost, spec: MachineSpec, process: VmmProcess, memory: Path | None, undo: UndoStack, *, restored: bool
) -> FirecrackerMachine:
    jail = MachineJail(spec.run_dir, host.firecracker.name, spec.id, host.uid(spec.slot))
    log, metrics = BoundedLog(error_log(spec.run_dir), _LOG_BYTES), MetricsReader()
    api = FirecrackerApi(jail.root / hardware.API.lstrip("/"), name=spec.id, unknown=host.unknown)
    adopted = UndoStack()
    undo.push(api.close)
    await api.ready(_READY_S, lambda: not process.ended)
    told = await api.instance()
    # From here on, what undoes the machine belongs to it: a failure before leaves it running.
    adopted.push(lambda: asyncio.to_thread(jail.remove))
    if host.cgroups is not None:
        adopted.push(host.cgroups.find(spec.id).remove)
    _listen_again(spec, jail, log, metrics, adopted)
    adopted.push(process.kill)
    adopted.push(api.close)
    launched = Launched(
        process=process, pid=process.pid, api=api, jail=jail, log=log, metrics=metrics, undo=adopted, restored=restored,
        pauses=host.pauses,
    )  # fmt: skip
    machine = FirecrackerMachine(spec, launched, memory=memory)
    machine.running(MachineState.PAUSED if told.state == "Paused" else MachineState.RUNNING)
    _log.info("machine adopted", extra={"action": "vmm.adopt", "machine": spec.id, "pid": process.pid})
    return machine


def _listen_again(spec: MachineSpec, jail: MachineJail, log: BoundedLog, metrics: MetricsReader, undo: UndoStack) -> None:
    listen_to_console(spec, undo)
    for path, take in zip(pipes_of(jail), (log.take, metrics.take), strict=True):
        undo.push_call(PipeReader(open_pipe(path), take).close)
