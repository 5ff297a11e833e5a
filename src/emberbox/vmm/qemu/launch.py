"""Starting a QEMU process shut in, watched and bounded before its guest runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emberbox.errors import VmmDied, VmmStartFailed
from emberbox.vmm.driver import VmmHost
from emberbox.vmm.failures import told_as
from emberbox.vmm.kvm.node import DEVICE, kvm_node
from emberbox.vmm.process import confinement
from emberbox.vmm.process.bounds import group_limits, longest_drive, threads
from emberbox.vmm.process.precedence import Precedence
from emberbox.vmm.process.process import VmmProcess, children
from emberbox.vmm.process.spawn import end_parent, last_errors, open_errors, popen, spawn_held
from emberbox.vmm.process.tap import open_tap
from emberbox.vmm.qemu.arguments import Hardware, Wiring, arguments, log_arguments
from emberbox.vmm.qemu.descriptors import Descriptors
from emberbox.vmm.qemu.program import MARK
from emberbox.vmm.qemu.qmp import Qmp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.process.cgroup import Cgroup

_ADOPT_S = 5.0


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


def explained(spec: MachineSpec, what: str) -> AbstractContextManager[None]:
    """Turn what goes wrong inside into `VmmStartFailed` with QEMU's own words."""
    return told_as(VmmStartFailed, spec, what, said=lambda: last_errors(spec.run_dir))


class ConfinedQemu:
    """A QEMU process, shut in and bounded, and all that belongs to it on the host.

    Args:
        host: What is known of the host.
        spec: Its machine.
        undo: Where to register what undoes it; whoever has it closes this.

    Attributes:
        process: QEMU, or the init of its PID namespace.
        control: The control connection.
        group: Its control group, if it has one.
        uid: Its uid and gid; None where it keeps ours.
    """

    process: VmmProcess
    control: Qmp
    group: Cgroup | None = None
    uid: int | None = None

    def __init__(self, host: QemuHost, spec: MachineSpec, undo: UndoStack) -> None:
        self.host = host
        self.spec = spec
        self.undo = undo
        self._socket = spec.run_dir / "qmp.sock"
        self._wrapped = host.jail is not None

    @property
    def pid(self) -> int:
        """Host pid of QEMU itself. Raises `VmmDied` when it has ended."""
        if not self._wrapped:
            return self.process.pid
        found = children(self.process.pid)
        if not found:
            raise VmmDied("QEMU ended as soon as it ran")
        return found[0]

    async def launch(self, *, memory: int | None = None, state: int | None = None) -> None:
        """Start QEMU; its guest does not run yet.

        Args:
            memory: The open file of its memory, which becomes its own for a template; None for
                anonymous memory.
            state: An open device state, which is closed here, and makes it a clone: what that writes
                to its memory stays its own, a template's goes to the file. None for a cold boot.
        """
        with Descriptors() as descriptors:
            if state is not None:
                descriptors.own(state)
            self.uid = self.host.take_uid(self.spec.id, self.undo)
            if memory is not None and state is None and self.uid is not None:
                os.fchown(memory, self.uid, self.uid)
            wiring = self._wire(descriptors, memory, state)
            self.group = self._make_group(clone=state is not None)
            command = arguments(self.spec, self.host.hardware, wiring)
            command += log_arguments(self.host.options.log_level)
            self.process = await self._spawn(command, descriptors.numbers)
        self.control = Qmp.connect(self._socket)
        self.undo.push(self.control.close)

    async def reconnect(self, process: VmmProcess) -> bool:
        """Take over a process that another starter left; returns whether its guest runs.

        Raises `VmmError`, and leaves it running.
        """
        self.process, self._wrapped = process, False
        self.control = Qmp.connect(self._socket)
        try:
            status = await self.control.execute("query-status", timeout_s=_ADOPT_S)
            if not isinstance(status, dict):
                raise VmmDied("what answers in the place of QEMU is none")
        except BaseException:
            await self.control.close()
            raise
        self.uid = self.host.hold_uid(process.pid, self.spec.id, self.undo)
        if self.host.cgroups is not None:
            self.group = self.host.cgroups.find(self.spec.id)
            self.undo.push(self.group.remove)
        self.undo.push(process.kill)
        self.undo.push(self.control.close)
        return bool(status.get("running"))

    def hurry(self) -> None:
        """Let a guest whose kernel measures its timer have the processor first, until it has.

        That takes 0.1 s, and goes wrong on a busy host if it is made to wait meanwhile.
        """
        group, precedence = self.group, self.host.precedence
        if self.host.hardware.timer_hz is not None and group is not None and precedence.give(group):
            self.undo.push_call(precedence.end, group)

    def _wire(self, descriptors: Descriptors, memory: int | None, state: int | None) -> Wiring:
        spec = self.spec
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return Wiring(
            control=descriptors.listen(self._socket),
            channel=descriptors.listen(spec.channel_socket),
            console=descriptors.open(spec.console_log, append),
            drives=tuple(
                descriptors.open(d.path, os.O_RDONLY if d.read_only else os.O_RDWR) for d in spec.drives
            ),
            kernel=None if state is not None else descriptors.readable(spec.kernel),
            initramfs=None if state is not None else descriptors.readable(spec.initramfs),
            memory=None if memory is None else descriptors.borrow(memory),
            memory_shared=state is None,
            tap=None if spec.network is None else descriptors.own(open_tap(spec.network)),
            seccomp=self.host.jail is not None,
        )

    def _make_group(self, *, clone: bool) -> Cgroup | None:
        host, spec = self.host, self.spec
        if host.cgroups is None or host.jail is None:
            return None
        # A clone that writes to a page which its template left empty is charged twice: for filling the
        # shared copy, and for its own.
        limits = group_limits(spec, spec.memory_mib * (2 if clone else 1))
        group = host.cgroups.create(spec.id, limits)
        self.undo.push(group.remove)
        return group

    async def _spawn(self, command: list[str], inherited: list[int]) -> VmmProcess:
        machine_id, jail = self.spec.id, self.host.jail
        with open_errors(self.spec.run_dir) as errors:
            if jail is None:
                parent = popen(command, inherited, errors)
                self.undo.push(lambda: end_parent(parent, MARK, machine_id))
                process = VmmProcess(parent.pid, parent, wrapped=False)
                self.undo.push(process.kill)
                return process
            cell = self._cell(jail)
            return await spawn_held(
                lambda tell, held: confinement.wrap(cell, command, tell, held),
                self._bound,
                mark=MARK,
                machine_id=machine_id,
                inherited=inherited,
                output=errors,
                undo=self.undo,
            )

    def _cell(self, jail: Path) -> confinement.Cell:
        host, spec = self.host, self.spec
        devices: tuple[confinement.Device, ...] = ()
        if host.hardware.accelerator == "kvm":
            devices = (kvm_node(self.uid, spec.run_dir, host.kvm),)
        uid = os.geteuid() if self.uid is None else self.uid
        return confinement.Cell(root=jail, uid=uid, devices=devices, die_with_parent=not spec.survive_parent)

    def _bound(self, pid: int) -> None:
        spec = self.spec
        processes = None if self.uid is None else threads(spec)
        confinement.limit(pid, file_bytes=max(spec.console_bytes, longest_drive(spec)), processes=processes)
        if self.group is not None:
            self.group.add(pid)
