"""Starting a Firecracker process under its jailer, up to the moment in which its API answers.

bubblewrap runs the jailer in a PID namespace of its own (the jailer's documentation names that way
beside `--new-pid-ns`): so its exit code comes back, and the VMM ends with this process unless it
may survive it. Everything else is the jailer's: the chroot, the uid, the control groups, the device
nodes. Seccomp is Firecracker's own. No capability is left in any set (see `entry`).
"""

from __future__ import annotations

import asyncio
import os
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import VmmDied, VmmError, VmmStartFailed
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.jailer.entry import PROGRAM
from emberbox.vmm.firecracker.jailer.jail import MachineJail, open_pipe
from emberbox.vmm.firecracker.jailer.rights import LIMITED, NAMESPACES, RIGHTS
from emberbox.vmm.firecracker.mark import MARK
from emberbox.vmm.firecracker.pipes import BoundedLog, MetricsReader, PipeReader
from emberbox.vmm.firecracker.requests.api import FirecrackerApi
from emberbox.vmm.firecracker.requests.faults import OWN_CODES, FirecrackerFault, explain_exit
from emberbox.vmm.process.bounds import group_limits, threads
from emberbox.vmm.process.cgroup import PARENT
from emberbox.vmm.process.confinement import BUBBLEWRAP
from emberbox.vmm.process.process import children
from emberbox.vmm.process.spawn import SPAWN_S, error_log, last_errors, open_errors, spawn_held

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.firecracker.host import FirecrackerHost
    from emberbox.vmm.firecracker.requests.request import Request
    from emberbox.vmm.process.process import VmmProcess

CONSOLE = "console.fifo"
_LOG_BYTES = 262_144
_OPEN_FILES = 512
_LEAST_FILE_BYTES = 2 * 1024 * 1024
_ENDED_S = 5.0


@dataclass(slots=True, kw_only=True)
class Launched:
    """A Firecracker process whose API answers.

    Attributes:
        process: The init of its PID namespace.
        pid: Host pid of Firecracker itself.
        api: Its API.
        jail: What it sees as `/`.
        log: What it logged.
        metrics: What it counted.
        undo: What undoes all that.
        restored: Whether its guest came from a snapshot.
        pauses: Whether it may be paused without being lost.
    """

    process: VmmProcess
    pid: int
    api: FirecrackerApi
    jail: MachineJail
    log: BoundedLog
    metrics: MetricsReader
    undo: UndoStack
    restored: bool = False
    pauses: bool = True

    async def configure(self, requests: Sequence[Request]) -> None:
        """Send requests one after another. Raises `VmmError`."""
        for request in requests:
            await self.api.send(request)


def make_jail(host: FirecrackerHost, spec: MachineSpec, undo: UndoStack) -> MachineJail:
    """Make the machine's jail, empty but for Firecracker and the machine's drives. Raises `OSError`."""
    jail = MachineJail(spec.run_dir, host.entry.name, spec.id, host.uid(spec.slot))
    undo.push(lambda: asyncio.to_thread(jail.remove))
    jail.make()
    jail.share(host.firecracker, PROGRAM)
    for index, drive in enumerate(spec.drives):
        (jail.share if drive.read_only else jail.give)(drive.path, hardware.drive_path(index))
    return jail


async def launch(
    host: FirecrackerHost,
    spec: MachineSpec,
    jail: MachineJail,
    *,
    file_bytes: int,
    undo: UndoStack,
    freezes: bool = False,
) -> Launched:
    """Start Firecracker in `jail` and wait for its API.

    Args:
        host: What is known of the host.
        spec: The machine.
        jail: Prepared with all that the machine needs.
        file_bytes: Longest file that the VMM writes.
        undo: Where to register what undoes the start; the caller closes it when this, or a later step, fails.
        freezes: Whether it will write its guest's memory to a file.

    Raises:
        VmmError, OSError, TimeoutError: The VMM did not come up.
    """
    log = open_log(spec)
    metrics = MetricsReader()
    output = _make_pipes(spec, jail, log, metrics, undo)
    try:
        jailer = _jailer(host, spec, jail, file_bytes, charged_mib(spec, freezes=freezes))
        process = await _spawn(host, spec, jail, jailer, output, undo)
    finally:
        os.close(output)
    api = open_api(host, spec, jail, undo)
    try:
        await api.ready(SPAWN_S, lambda: not process.ended)
    except VmmError as error:
        raise await explained(spec, process, log, error) from error
    found = children(process.pid)
    if not found:
        raise await explained(spec, process, log, VmmDied("Firecracker ended as soon as it ran"))
    return Launched(
        process=process,
        pid=found[0],
        api=api,
        jail=jail,
        log=log,
        metrics=metrics,
        undo=undo,
        pauses=host.pauses,
    )


def open_log(spec: MachineSpec) -> BoundedLog:
    """Return what keeps the end of what a machine's VMM logs."""
    return BoundedLog(error_log(spec.run_dir), _LOG_BYTES)


def open_api(host: FirecrackerHost, spec: MachineSpec, jail: MachineJail, undo: UndoStack) -> FirecrackerApi:
    """Return the client of the API in a jail; `undo` closes it."""
    api = FirecrackerApi(jail.root / hardware.API.lstrip("/"), name=spec.id, unknown=host.unknown)
    undo.push(api.close)
    return api


async def explained(
    spec: MachineSpec, process: VmmProcess, log: BoundedLog, error: Exception
) -> VmmStartFailed:
    """Return the error for a start that failed: what Firecracker answered, else what its exit code means."""
    reason, said = await why(spec, process, log, error)
    return VmmStartFailed(f"virtual machine {spec.id} did not start: {reason}", detail=said)


async def why(spec: MachineSpec, process: VmmProcess, log: BoundedLog, error: Exception) -> tuple[str, str]:
    """Return why something failed, for people, and what Firecracker said, for logs.

    What it answered says more than the exit code of a process that ended over it, as after a load
    that failed.
    """
    code = None
    if isinstance(error, VmmDied) or (process.ended and not isinstance(error, FirecrackerFault)):
        try:
            async with asyncio.timeout(_ENDED_S):
                code = await process.wait()
        except TimeoutError:
            code = None
    said = "\n".join(text for text in (last_errors(spec.run_dir), log.tail().strip()) if text)
    return str(error) if code is None else explain_exit(code, said), said or str(error)


def _make_pipes(
    spec: MachineSpec, jail: MachineJail, log: BoundedLog, metrics: MetricsReader, undo: UndoStack
) -> int:
    """Make the machine's pipes and read them from now on; returns where Firecracker's output goes."""
    path = spec.run_dir / CONSOLE
    os.mkfifo(path, 0o600)
    listen(spec, jail.pipe, log, metrics, undo)
    # Without blocking: a guest that floods its console loses what nobody took in time, and never
    # holds its VMM up.
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def listen(
    spec: MachineSpec,
    pipe: Callable[[str], int],
    log: BoundedLog,
    metrics: MetricsReader,
    undo: UndoStack,
) -> None:
    """Read a machine's console, log and metrics from now on; `pipe` opens a pipe of the jail by its name."""
    console = BoundedLog(spec.console_log, spec.console_bytes)
    undo.push_call(PipeReader(open_pipe(spec.run_dir / CONSOLE), console.take).close)
    for name, take in ((hardware.LOG, log.take), (hardware.METRICS, metrics.take)):
        undo.push_call(PipeReader(pipe(name), take).close)


async def _spawn(
    host: FirecrackerHost,
    spec: MachineSpec,
    jail: MachineJail,
    jailer: list[str],
    output: int,
    undo: UndoStack,
) -> VmmProcess:
    undo.push(lambda: _remove_group(host, spec.id))
    with open_errors(spec.run_dir) as errors:
        return await spawn_held(
            lambda tell, held: [*_bubblewrap(spec, jail, tell, held), "--", *LIMITED, *jailer],
            lambda pid: _bound(spec, pid),
            mark=MARK,
            machine_id=spec.id,
            inherited=(),
            output=output,
            errors=errors,
            own_codes=OWN_CODES,
            undo=undo,
        )


async def _remove_group(host: FirecrackerHost, name: str) -> None:
    if host.cgroups is not None:
        await host.cgroups.find(name).remove()


def _bubblewrap(spec: MachineSpec, jail: MachineJail, tell: int, held: int) -> list[str]:
    arguments = [str(BUBBLEWRAP), *NAMESPACES]
    if spec.network is None:
        arguments.append("--unshare-net")
    for source, place in jail.binds:
        arguments += ["--ro-bind", str(source), str(place)]
    if not spec.survive_parent:
        arguments.append("--die-with-parent")
    return [*arguments, *RIGHTS, "--info-fd", str(tell), "--block-fd", str(held)]


def charged_mib(spec: MachineSpec, *, freezes: bool) -> int:
    """Return how much memory is charged to a VMM's control group for its guest.

    A template's hold its memory twice: the file that it writes is charged to it as well, until it
    is on the disk, and in a folder that is kept in memory for good.
    """
    return max(spec.memory_mib, spec.memory_max_mib or 0) + (spec.memory_mib if freezes else 0)


def _jailer(
    host: FirecrackerHost, spec: MachineSpec, jail: MachineJail, file_bytes: int, memory_mib: int
) -> list[str]:
    arguments = [str(host.jailer), "--id", spec.id, "--exec-file", str(host.entry)]
    arguments += ["--uid", str(jail.uid), "--gid", str(jail.uid), "--chroot-base-dir", str(jail.base)]
    if spec.network is not None and spec.network.netns is not None:
        arguments += ["--netns", str(spec.network.netns)]
    if host.cgroups is not None:
        limits = group_limits(spec, memory_mib, host.cpus)
        arguments += ["--cgroup-version", "2" if host.cgroups.unified else "1", "--parent-cgroup", PARENT]
        for name, value in host.cgroups.assignments(limits):
            arguments += ["--cgroup", f"{name}={value}"]
    arguments += ["--resource-limit", f"fsize={max(file_bytes, _LEAST_FILE_BYTES)}"]
    arguments += ["--resource-limit", f"no-file={_OPEN_FILES}"]
    return [*arguments, "--", *hardware.arguments(host.log_level)]


def _bound(spec: MachineSpec, pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(pid, resource.RLIMIT_NPROC, (threads(spec), threads(spec)))
