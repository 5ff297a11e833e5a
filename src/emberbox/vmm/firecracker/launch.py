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
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from emberbox.errors import VmmDied, VmmError, VmmStartFailed
from emberbox.files.descriptors import opened
from emberbox.files.paths import without_folders
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
    from collections.abc import AsyncIterator, Callable, Iterable

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.firecracker.host import FirecrackerHost
    from emberbox.vmm.firecracker.requests.request import Request
    from emberbox.vmm.process.cgroup import Cgroup
    from emberbox.vmm.process.process import VmmProcess

CONSOLE = "console.fifo"
_LOG_BYTES = 262_144
_OPEN_FILES = 512
_LEAST_FILE_BYTES = 2 * 1024 * 1024
_READY_S = 5.0
_ENDED_S = 5.0


class JailedFirecracker:
    """A Firecracker process under its jailer, and all that belongs to it on the host.

    Args:
        host: What is known of the host.
        spec: Its machine.
        undo: Where to register what undoes it; whoever has it closes this.

    Attributes:
        jail: What it sees as `/`.
        api: Its API; answers once `launch` has returned.
        metrics: What it counted.
        restored: Whether its guest came from a snapshot.
        process: The init of its PID namespace.
        pid: Host pid of Firecracker itself.
    """

    process: VmmProcess
    pid: int

    def __init__(self, host: FirecrackerHost, spec: MachineSpec, undo: UndoStack) -> None:
        self.host = host
        self.spec = spec
        self.undo = undo
        self.jail = MachineJail(spec.run_dir, host.entry.name, spec.id)
        socket = self.jail.root / hardware.API.lstrip("/")
        self.api = FirecrackerApi(socket, name=spec.id, unknown=host.unknown)
        self.metrics = MetricsReader()
        self.restored = False
        self._log = BoundedLog(error_log(spec.run_dir), _LOG_BYTES)

    def make_jail(self) -> None:
        """Make the jail, empty but for Firecracker and the machine's drives.

        Raises `VmmStartFailed` where no user is left for it, or `OSError`.
        """
        self._belong(self.host.take_uid(self.spec.id, self.undo))
        self.undo.push(lambda: asyncio.to_thread(self.jail.remove))
        self.jail.make()
        self.jail.share(self.host.firecracker, PROGRAM)
        for index, drive in enumerate(self.spec.drives):
            share = self.jail.share if drive.read_only else self.jail.give
            share(drive.path, hardware.drive_path(index))

    async def launch(self, *, file_bytes: int, freezes: bool = False) -> None:
        """Start Firecracker in its jail, which holds all that the machine needs, and wait for its API.

        Args:
            file_bytes: Longest file that it writes.
            freezes: Whether it will write its guest's memory to a file.

        Raises:
            VmmError, OSError, TimeoutError: It did not come up.
        """
        console = self.spec.run_dir / CONSOLE
        os.mkfifo(console, 0o600)
        self._listen(self.jail.pipe)
        jailer = _jailer(self.host, self.spec, self.jail, file_bytes, charged_mib(self.spec, freezes=freezes))
        # Without blocking: a guest that floods its console loses what nobody took in time, and never
        # holds its VMM up.
        with opened(console, os.O_WRONLY | os.O_NONBLOCK) as output:
            self.process = await self._spawn(jailer, output)
        self.undo.push(self.api.close)
        async with self.explained():
            await self.api.ready(SPAWN_S, lambda: not self.process.ended)
            found = children(self.process.pid)
            if not found:
                raise VmmDied("Firecracker ended as soon as it ran")
        self.pid = found[0]

    async def reconnect(self, process: VmmProcess) -> str:
        """Take over a process that another starter left; returns the machine's state as its API tells it.

        Raises `VmmError` or `OSError`, and leaves it running.
        """
        self.process, self.pid = process, process.pid
        try:
            await self.api.ready(_READY_S, lambda: not process.ended)
            state = await self.api.state()
            self._belong(self.host.hold_uid(process.pid, self.spec.id, self.undo))
            self.undo.push(lambda: asyncio.to_thread(self.jail.remove))
            self.undo.push(self._remove_group)
            self._listen(lambda name: open_pipe(self.jail.root / name))
        except BaseException:
            await self.api.close()
            raise
        self.undo.push(process.kill)
        self.undo.push(self.api.close)
        return state

    def _belong(self, uid: int | None) -> None:
        if uid is None:
            raise VmmStartFailed("a VMM under Firecracker's jailer needs a user of its own")
        self.jail.uid = uid

    async def configure(self, requests: Iterable[Request]) -> None:
        """Send requests one after another. Raises `VmmError`."""
        for request in requests:
            await self.api.send(request)

    @asynccontextmanager
    async def explained(
        self, failure: type[VmmError] = VmmStartFailed, what: str = "did not start"
    ) -> AsyncIterator[None]:
        """Turn what goes wrong inside with Firecracker into `failure`, which says why (see `why`)."""
        try:
            yield
        except VmmError as error:
            reason, said = await self.why(error)
            raise failure(f"virtual machine {self.spec.id} {what}: {reason}", detail=said) from error

    async def why(self, error: Exception) -> tuple[str, str]:
        """Return why something failed, for people, and what Firecracker said, for logs.

        What it answered says more than the exit code of a process that ended over it, as after a load
        that failed.
        """
        code = None
        if isinstance(error, VmmDied) or (self.process.ended and not isinstance(error, FirecrackerFault)):
            with suppress(TimeoutError):
                async with asyncio.timeout(_ENDED_S):
                    code = await self.process.wait()
        texts = last_errors(self.spec.run_dir), self._log.tail().strip()
        said = "\n".join(text for text in texts if text)
        reason = str(error) if code is None else explain_exit(code, said)
        return without_folders(reason), said or str(error)

    def _listen(self, pipe: Callable[[str], int]) -> None:
        """Read console, log and metrics from now on; `pipe` opens a pipe of the jail by its name."""
        console = BoundedLog(self.spec.console_log, self.spec.console_bytes)
        self.undo.push_call(PipeReader(open_pipe(self.spec.run_dir / CONSOLE), console.take).close)
        for name, take in ((hardware.LOG, self._log.take), (hardware.METRICS, self.metrics.take)):
            self.undo.push_call(PipeReader(pipe(name), take).close)

    async def _spawn(self, jailer: list[str], output: int) -> VmmProcess:
        spec, jail = self.spec, self.jail
        self.undo.push(self._remove_group)
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
                undo=self.undo,
            )

    @property
    def group(self) -> Cgroup | None:
        """Its control group, which the jailer made, if it has one."""
        return None if self.host.cgroups is None else self.host.cgroups.find(self.spec.id)

    async def _remove_group(self) -> None:
        if (group := self.group) is not None:
            await group.remove()


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
        limits = group_limits(spec, memory_mib)
        arguments += ["--cgroup-version", "2" if host.cgroups.unified else "1", "--parent-cgroup", PARENT]
        for name, value in host.cgroups.assignments(limits):
            arguments += ["--cgroup", f"{name}={value}"]
    arguments += ["--resource-limit", f"fsize={max(file_bytes, _LEAST_FILE_BYTES)}"]
    arguments += ["--resource-limit", f"no-file={_OPEN_FILES}"]
    return [*arguments, "--", *hardware.arguments(host.options.log_level)]


def _bound(spec: MachineSpec, pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(pid, resource.RLIMIT_NPROC, (threads(spec), threads(spec)))
