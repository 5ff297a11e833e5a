"""Starting a QEMU process shut in, watched and bounded before its guest runs."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import VmmError, VmmStartFailed
from emberbox.vmm import confinement
from emberbox.vmm.cgroup import Cgroup, CgroupLimits, Cgroups
from emberbox.vmm.qemu.arguments import Hardware, Wiring, arguments
from emberbox.vmm.qemu.descriptors import Descriptors
from emberbox.vmm.qemu.qmp import Qmp
from emberbox.vmm.spawn import end_parent, error_log, last_errors, popen, spawn_held, watch
from emberbox.vmm.tap import open_tap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.process import VmmProcess

OVERHEAD_MIB = 192
"""What a VMM may use besides its guest's memory."""
_THREADS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuHost:
    """What the driver found out about this host, once.

    Args:
        binary: QEMU on the host.
        hardware: What machines get; its `binary` is the path inside the jail.
        version: What a snapshot must match.
        jail: The jail root; None leaves machines unconfined (tests only).
        cgroups: Where to make groups; None where none can be had.
        uid_base: uid of slot 0.
        cpus: CPUs' worth of time for each machine; None for no bound.
    """

    binary: Path
    hardware: Hardware
    version: str
    jail: Path | None
    cgroups: Cgroups | None
    uid_base: int = confinement.UID_BASE
    cpus: float | None = None

    def uid(self, spec: MachineSpec) -> int | None:
        """Return the uid of the machine's VMM; None where it keeps ours."""
        return self.uid_base + spec.slot if self.jail is not None and os.geteuid() == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The file behind the guest's memory.

    Args:
        descriptor: Open here; stays open.
        shared: True for a template, whose writes go to the file.
    """

    descriptor: int
    shared: bool


@dataclass(slots=True, kw_only=True)
class Launched:
    """A QEMU process that waits for its first command.

    Args:
        process: QEMU, or the init of its PID namespace.
        confined: Whether it is the init.
        control: The control connection.
        group: Its control group, if it has one.
        undo: What undoes all that.
    """

    process: VmmProcess
    confined: bool
    control: Qmp
    group: Cgroup | None
    undo: UndoStack


def control_socket(run_dir: Path) -> Path:
    """Return where QEMU's control socket is."""
    return run_dir / "qmp.sock"


@contextlib.contextmanager
def explained(spec: MachineSpec, what: str) -> Iterator[None]:
    """Turn what goes wrong inside into `VmmStartFailed` with the VMM's own words."""
    try:
        yield
    except VmmStartFailed:
        raise
    except (VmmError, OSError, TimeoutError) as error:
        said = last_errors(spec.run_dir)
        reason = said.splitlines()[-1] if said else str(error) or type(error).__name__
        raise VmmStartFailed(f"virtual machine {spec.id} {what}: {reason}", detail=said or str(error)) from error


async def launch(
    host: QemuHost, spec: MachineSpec, *, memory: Memory | None = None, state: int | None = None, undo: UndoStack
) -> Launched:
    """Start QEMU for `spec`, shut in and bounded; its guest does not run yet.

    Args:
        host: What is known of the host.
        spec: The machine.
        memory: Its memory's file; None for anonymous memory.
        state: An open device state, which makes it a clone, and which is closed here; None for a cold boot.
        undo: Where to register what undoes the start; the caller closes it when this, or a later step, fails.
    """
    descriptors = Descriptors()
    undo.push_call(descriptors.close)
    if state is not None:
        descriptors.own(state)
    wiring = _wire(host, spec, descriptors, memory, state)
    group = _make_group(host, spec, memory, undo)
    process = await _spawn(host, spec, arguments(spec, host.hardware, wiring), descriptors.numbers, group, undo)
    descriptors.close()
    control = Qmp.connect(control_socket(spec.run_dir))
    undo.push(control.close)
    return Launched(process=process, confined=host.jail is not None, control=control, group=group, undo=undo)


def _wire(host: QemuHost, spec: MachineSpec, descriptors: Descriptors, memory: Memory | None, state: int | None) -> Wiring:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return Wiring(
        control=descriptors.listen(control_socket(spec.run_dir)),
        channel=descriptors.listen(spec.channel_socket),
        console=descriptors.open(spec.console_log, append),
        drives=tuple(descriptors.open(d.path, os.O_RDONLY if d.read_only else os.O_RDWR) for d in spec.drives),
        kernel=None if state is not None else descriptors.readable(spec.kernel),
        initramfs=None if state is not None else descriptors.readable(spec.initramfs),
        memory=None if memory is None else descriptors.borrow(memory.descriptor),
        memory_shared=memory is not None and memory.shared,
        tap=None if spec.network is None else descriptors.own(open_tap(spec.network)),
        seccomp=host.jail is not None,
    )


async def _spawn(
    host: QemuHost, spec: MachineSpec, command: list[str], inherited: list[int], group: Cgroup | None, undo: UndoStack
) -> VmmProcess:
    errors = os.open(error_log(spec.run_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if host.jail is None:
            parent = popen(command, inherited, errors)
            undo.push(lambda: end_parent(parent, spec.id))
            return watch(parent.pid, parent, undo, wrapped=False)
        cell = _cell(host, host.jail, spec)
        return await spawn_held(
            lambda tell, held: confinement.wrap(cell, command, tell, held),
            lambda pid: _bound(host, spec, pid, group),
            machine_id=spec.id,
            inherited=inherited,
            output=errors,
            undo=undo,
        )
    finally:
        os.close(errors)


def _cell(host: QemuHost, jail: Path, spec: MachineSpec) -> confinement.Cell:
    devices = (Path("/dev/kvm"),) if host.hardware.accelerator == "kvm" else ()
    return confinement.Cell(root=jail, uid=host.uid_base + spec.slot, devices=devices, die_with_parent=not spec.survive_parent)


def _make_group(host: QemuHost, spec: MachineSpec, memory: Memory | None, undo: UndoStack) -> Cgroup | None:
    if host.cgroups is None or host.jail is None:
        return None
    # A clone that writes to a page which its template left empty is charged twice: for filling the shared copy, and for its own.
    times = 2 if memory is not None and not memory.shared else 1
    bound = (spec.memory_mib * times + OVERHEAD_MIB) * 1024 * 1024
    group = host.cgroups.create(spec.id, CgroupLimits(memory_bytes=bound, pids=_THREADS + spec.vcpus, cpus=host.cpus))
    undo.push(group.remove)
    return group


def _bound(host: QemuHost, spec: MachineSpec, pid: int, group: Cgroup | None) -> None:
    writable = [d.path.stat().st_size for d in spec.drives if not d.read_only]
    processes = None if host.uid(spec) is None else _THREADS + spec.vcpus
    confinement.limit(pid, file_bytes=max([spec.console_bytes, *writable]), processes=processes)
    if group is not None:
        group.add(pid)
