"""Starting a QEMU process shut in, watched and bounded before its guest runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emberbox.errors import VmmStartFailed
from emberbox.vmm.driver import VmmHost
from emberbox.vmm.failures import told_as
from emberbox.vmm.kvm.node import DEVICE, kvm_node
from emberbox.vmm.process import confinement
from emberbox.vmm.process.bounds import group_limits, longest_drive, threads
from emberbox.vmm.process.precedence import Precedence
from emberbox.vmm.process.spawn import end_parent, last_errors, open_errors, popen, spawn_held, watch
from emberbox.vmm.process.tap import open_tap
from emberbox.vmm.qemu.arguments import Hardware, Wiring, arguments
from emberbox.vmm.qemu.descriptors import Descriptors
from emberbox.vmm.qemu.log_items import log_arguments
from emberbox.vmm.qemu.program import MARK
from emberbox.vmm.qemu.qmp import Qmp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.process.cgroup import Cgroup
    from emberbox.vmm.process.process import VmmProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuHost(VmmHost):
    """What the driver found out about this host, once.

    Args:
        binary: QEMU on the host.
        hardware: What machines get; its `binary` is the path inside the jail.
        jail: The jail root; None leaves machines unconfined (tests only).
        kvm: KVM's device node, which only machines on KVM are given.
        precedence: Which machine has the processor first.
    """

    binary: Path
    hardware: Hardware
    jail: Path | None
    kvm: Path = DEVICE
    precedence: Precedence = field(default_factory=Precedence)

    def uid(self, spec: MachineSpec) -> int | None:
        """Return the uid of the machine's VMM; None where it keeps ours."""
        return self.options.uid_base + spec.slot if self.jail is not None and os.geteuid() == 0 else None


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


def explained(spec: MachineSpec, what: str) -> AbstractContextManager[None]:
    """Turn what goes wrong inside into `VmmStartFailed` with QEMU's own words."""
    return told_as(VmmStartFailed, spec, what, said=lambda: last_errors(spec.run_dir))


async def launch(
    host: QemuHost,
    spec: MachineSpec,
    *,
    memory: Memory | None = None,
    state: int | None = None,
    undo: UndoStack,
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
    command = [*arguments(spec, host.hardware, wiring), *log_arguments(host.options.log_level)]
    process = await _spawn(host, spec, command, descriptors.numbers, group, undo)
    descriptors.close()
    control = Qmp.connect(control_socket(spec.run_dir))
    undo.push(control.close)
    return Launched(process=process, confined=host.jail is not None, control=control, group=group, undo=undo)


def _wire(
    host: QemuHost, spec: MachineSpec, descriptors: Descriptors, memory: Memory | None, state: int | None
) -> Wiring:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return Wiring(
        control=descriptors.listen(control_socket(spec.run_dir)),
        channel=descriptors.listen(spec.channel_socket),
        console=descriptors.open(spec.console_log, append),
        drives=tuple(
            descriptors.open(d.path, os.O_RDONLY if d.read_only else os.O_RDWR) for d in spec.drives
        ),
        kernel=None if state is not None else descriptors.readable(spec.kernel),
        initramfs=None if state is not None else descriptors.readable(spec.initramfs),
        memory=None if memory is None else descriptors.borrow(memory.descriptor),
        memory_shared=memory is not None and memory.shared,
        tap=None if spec.network is None else descriptors.own(open_tap(spec.network)),
        seccomp=host.jail is not None,
    )


async def _spawn(
    host: QemuHost,
    spec: MachineSpec,
    command: list[str],
    inherited: list[int],
    group: Cgroup | None,
    undo: UndoStack,
) -> VmmProcess:
    with open_errors(spec.run_dir) as errors:
        if host.jail is None:
            parent = popen(command, inherited, errors)
            undo.push(lambda: end_parent(parent, MARK, spec.id))
            return watch(parent.pid, parent, undo, wrapped=False)
        cell = _cell(host, host.jail, spec)
        return await spawn_held(
            lambda tell, held: confinement.wrap(cell, command, tell, held),
            lambda pid: _bound(host, spec, pid, group),
            mark=MARK,
            machine_id=spec.id,
            inherited=inherited,
            output=errors,
            undo=undo,
        )


def _cell(host: QemuHost, jail: Path, spec: MachineSpec) -> confinement.Cell:
    devices = (
        (kvm_node(host.uid(spec), spec.run_dir, host.kvm),) if host.hardware.accelerator == "kvm" else ()
    )
    return confinement.Cell(
        root=jail,
        uid=host.options.uid_base + spec.slot,
        devices=devices,
        die_with_parent=not spec.survive_parent,
    )


def _make_group(host: QemuHost, spec: MachineSpec, memory: Memory | None, undo: UndoStack) -> Cgroup | None:
    if host.cgroups is None or host.jail is None:
        return None
    # A clone that writes to a page which its template left empty is charged twice: for filling the
    # shared copy, and for its own.
    times = 2 if memory is not None and not memory.shared else 1
    group = host.cgroups.create(spec.id, group_limits(spec, spec.memory_mib * times, host.options.cpus))
    undo.push(group.remove)
    return group


def _bound(host: QemuHost, spec: MachineSpec, pid: int, group: Cgroup | None) -> None:
    processes = None if host.uid(spec) is None else threads(spec)
    confinement.limit(pid, file_bytes=max(spec.console_bytes, longest_drive(spec)), processes=processes)
    if group is not None:
        group.add(pid)
