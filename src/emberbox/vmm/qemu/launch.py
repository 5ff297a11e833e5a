"""Starting a QEMU process shut in, watched and bounded before its guest runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import VmmError, VmmStartFailed
from emberbox.vmm import confinement
from emberbox.vmm.cgroup import Cgroup, CgroupLimits, Cgroups
from emberbox.vmm.leftovers import end_marked
from emberbox.vmm.process import VmmProcess, reap
from emberbox.vmm.qemu.arguments import Hardware, Wiring, arguments
from emberbox.vmm.qemu.descriptors import Descriptors
from emberbox.vmm.qemu.qmp import Qmp
from emberbox.vmm.tap import open_tap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec

SPAWN_S = 15.0
OVERHEAD_MIB = 192
"""What a VMM may use besides its guest's memory."""
_THREADS = 64
_ERRORS_KEPT = 4096


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


def error_log(run_dir: Path) -> Path:
    """Return where a VMM's standard error goes."""
    return run_dir / "vmm.log"


def control_socket(run_dir: Path) -> Path:
    """Return where QEMU's control socket is."""
    return run_dir / "qmp.sock"


def last_errors(run_dir: Path) -> str:
    """Return the end of what the VMM printed, at most 4 KiB; empty when it printed nothing."""
    try:
        with error_log(run_dir).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ERRORS_KEPT))
            return file.read(_ERRORS_KEPT).decode("utf-8", "replace").strip()
    except OSError:
        return ""


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
    group = _make_group(host, spec, undo)
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
    if host.jail is None:
        parent = _start(spec, command, inherited)
        undo.push(lambda: _end_parent(parent, spec.id))
        return _watch(parent.pid, parent, undo, wrapped=False)
    told, tell = os.pipe2(os.O_CLOEXEC)
    held, release = os.pipe2(os.O_CLOEXEC)
    try:
        wrapped = confinement.wrap(_cell(host, host.jail, spec), command, tell, held)
        parent = _start(spec, wrapped, [*inherited, tell, held])
        undo.push(lambda: _end_parent(parent, spec.id))
        os.close(tell)
        tell = -1
        pid = await _child_pid(told)
        process = _watch(pid, parent, undo, wrapped=True)
        _bound(host, spec, pid, group)
        os.write(release, b"1")
        return process
    finally:
        for descriptor in (told, tell, held, release):
            if descriptor >= 0:
                os.close(descriptor)


def _start(spec: MachineSpec, command: list[str], inherited: list[int]) -> subprocess.Popen[bytes]:
    errors = os.open(error_log(spec.run_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # restore_signals=False: SIGXFSZ stays ignored, so that a console log at its bound is cut instead of ending the VMM.
        # The fork is done on this thread: a parent-death signal follows the thread, not the process.
        return subprocess.Popen(
            command,
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env={},
            cwd="/",
            restore_signals=False,
            start_new_session=True,
        )
    finally:
        os.close(errors)


def _watch(pid: int, parent: subprocess.Popen[bytes], undo: UndoStack, *, wrapped: bool) -> VmmProcess:
    process = VmmProcess(pid, parent, wrapped=wrapped)
    undo.push(process.kill)
    return process


def _cell(host: QemuHost, jail: Path, spec: MachineSpec) -> confinement.Cell:
    devices = (Path("/dev/kvm"),) if host.hardware.accelerator == "kvm" else ()
    return confinement.Cell(root=jail, uid=host.uid_base + spec.slot, devices=devices, die_with_parent=not spec.survive_parent)


async def _end_parent(parent: subprocess.Popen[bytes], machine_id: str) -> None:
    early = parent.poll() is None
    if early:
        parent.kill()
    await reap(parent, wrapped=False)
    if early:
        # A start that was given up: bubblewrap's child may not be bound to its parent's life yet.
        await end_marked(machine_id, whole=True)


async def _child_pid(told: int) -> int:
    """Read what bubblewrap tells about its child. Raises `VmmStartFailed`."""
    loop = asyncio.get_running_loop()
    os.set_blocking(told, False)
    text = b""
    async with asyncio.timeout(SPAWN_S):
        while b"}" not in text:
            readable = loop.create_future()
            loop.add_reader(told, _mark_readable, readable)
            try:
                await readable
            finally:
                loop.remove_reader(told)
            piece = os.read(told, 4096)
            if not piece:
                raise OSError("bubblewrap ended before the VMM was started")
            text += piece
    return int(json.loads(text)["child-pid"])


def _make_group(host: QemuHost, spec: MachineSpec, undo: UndoStack) -> Cgroup | None:
    if host.cgroups is None or host.jail is None:
        return None
    memory = (spec.memory_mib + OVERHEAD_MIB) * 1024 * 1024
    group = host.cgroups.create(spec.id, CgroupLimits(memory_bytes=memory, pids=_THREADS + spec.vcpus, cpus=host.cpus))
    undo.push(group.remove)
    return group


def _bound(host: QemuHost, spec: MachineSpec, pid: int, group: Cgroup | None) -> None:
    writable = [d.path.stat().st_size for d in spec.drives if not d.read_only]
    processes = None if host.uid(spec) is None else _THREADS + spec.vcpus
    confinement.limit(pid, file_bytes=max([spec.console_bytes, *writable]), processes=processes)
    if group is not None:
        group.add(pid)


def _mark_readable(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
