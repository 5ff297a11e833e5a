"""An engine without virtual machines: every sandbox is the real guest agent, as a plain process.

What runs in it is NOT confined. It is for tests of what stands on an engine: protocol, programs and
files are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from emberbox.errors import EngineClosed, RequirementMissing
from emberbox.guest import ExecRequest, GuestClient
from emberbox.model import Limits, RunMetrics, RunOptions, RunParameters, elapsed_ms
from emberbox.sandbox.engine import Engine
from emberbox.sandbox.machines.book import MachineBook
from emberbox.sandbox.machines.kept import KeptMachines
from emberbox.sandbox.machines.live import LiveMachine
from emberbox.sandbox.sandbox import Sandbox
from emberbox.tasks import UndoStack, undone_on_failure
from emberbox.vmm.base import DriverReport, Machine, MachineState

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.images import Progress
    from emberbox.sandbox.machines.console import ConsoleReader
    from emberbox.sandbox.packages.requests import Packages
    from emberbox.sandbox.process import Process

START_S = 180.0


def agent_program() -> Path:
    """Return the agent that was built for this machine. Raises `RequirementMissing` when there is none."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "none")
    path = Path(__file__).parents[1] / "_builtin/agent" / f"emberbox-agent-{architecture}"
    if not path.exists():
        raise RequirementMissing("no guest agent was built for this machine", mend="python hatch_build.py")
    return path


class HostMachine:
    """The agent's process, in the place of a VM."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._killed = False

    @property
    def pid(self) -> int:
        """The agent's pid."""
        return self._process.pid

    def poll(self) -> MachineState:
        """Tell whether the agent runs."""
        if self._process.returncode is None:
            return MachineState.RUNNING
        return MachineState.KILLED if self._killed else MachineState.EXITED

    async def wait(self) -> int:
        """Wait for the agent's end."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End the agent. Repeating is harmless."""
        # Not Process.kill: that looks whether the process has ended, and so takes its exit code
        # away from the event loop.
        if self._process.returncode is None:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        await self._process.wait()

    def console(self) -> str:
        """Return what the guest's kernel printed: nothing."""
        return ""

    def vmm_log(self) -> str:
        """Return what the VMM logged: nothing."""
        return ""

    async def trouble(self) -> str | None:
        """Tell that the agent has ended; None while it runs."""
        return (
            None
            if self._process.returncode is None
            else f"the agent ended with code {self._process.returncode}"
        )


class HostSandbox(Sandbox):
    """A sandbox whose work folder is a temporary folder of this host."""

    def _prepared(self, request: ExecRequest, *arguments: Any, **options: Any) -> Process:
        cwd = "." if request.cwd == "/work" else request.cwd
        return super()._prepared(replace(request, cwd=cwd), *arguments, **options)


class HostEngine(Engine):
    """Has what the service uses of `Engine`. Use it as `async with HostEngine(settings) as engine`.

    Args:
        settings: None reads them from the file and the environment.
        start_delay_s: Pretends that making a sandbox takes this long.
    """

    def __init__(self, settings: Settings | None = None, *, start_delay_s: float = 0.0) -> None:
        super().__init__(settings)
        vmm = self.settings.vmm
        kept = KeptMachines(self.settings.data / "ended", count=vmm.kept_machines, age_s=vmm.kept_age_s)
        self._book = MachineBook(kept, "host")
        self.start_delay_s = start_delay_s
        self.started = 0
        self._closed = True

    async def _start(self) -> None:
        self._closed = False
        self._undo.push(self._keeper.settle)
        self._undo.push(self._end_sandboxes)

    @property
    def driver(self) -> DriverReport:
        """What sandboxes run on: nothing that confines."""
        return DriverReport(
            usable=True, accelerator=None, version="host", reason="plain processes of this host, for tests"
        )

    @property
    def book(self) -> MachineBook:
        """Which machines are kept of those that ended badly: none lives in it."""
        return self._book

    @property
    def machines(self) -> int:
        """How many sandboxes live."""
        return len(self._live)

    @property
    def committed_mib(self) -> int:
        """Nothing: plain processes are promised no memory."""
        return 0

    async def warm_pool(self, runtime: str, count: int, **options: Any) -> bool:
        """Keep nothing ready; raises `UnknownRuntime` as the engine does."""
        self.runtimes.get(runtime)
        return True

    async def template(self, runtime: str, **options: Any) -> Any:
        """Make nothing; raises `UnknownRuntime` as the engine does."""
        self.runtimes.get(runtime)

    async def open_sandbox(
        self,
        runtime: str,
        options: RunOptions | None = None,
        *,
        limits: Limits | None = None,
        script_drive: Path | None = None,
        scope: str | None = None,
        packages: Packages | None = None,
        console: ConsoleReader | None = None,
        progress: Progress | None = None,
        **given: Unpack[RunParameters],
    ) -> Sandbox:
        """Open a sandbox that the caller closes; arguments as for `Engine.open_sandbox`."""
        if self._closed:
            raise EngineClosed("the engine is not running; use it with 'async with'")
        found = self.runtimes.get(runtime)
        chosen = RunOptions.of(options, given)
        begun = time.perf_counter()
        await asyncio.sleep(self.start_delay_s)
        live = await _agent(self.settings.data / "host", self.started)
        self.started += 1
        live.metrics = RunMetrics(source="clone", boot_ms=elapsed_ms(begun))
        live.patience_s = self.settings.vmm.clone_timeout_s
        programs = self._programs(found, scope, "host")
        sandbox = HostSandbox(
            live, found, chosen, limits, waiting=False, programs=programs, keeper=self._keeper
        )
        self._live.add(sandbox)
        live.undo.push_call(self._live.discard, sandbox)
        return sandbox


async def _agent(root: Path, number: int) -> LiveMachine:
    undo = UndoStack()
    async with undone_on_failure(undo.close):
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=root))
        undo.push(lambda: asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))
        # A socket's path has room for about a hundred characters; it is of no use once the agent is
        # connected.
        with tempfile.TemporaryDirectory(prefix="emberbox-host-") as folder:
            arrived: asyncio.Future[GuestClient] = asyncio.get_running_loop().create_future()
            path = f"{folder}/agent.sock"
            server = await asyncio.start_unix_server(lambda r, w: arrived.set_result(GuestClient(r, w)), path)
            undo.push_call(server.close)
            program = [str(agent_program()), "--socket", path, "--work", str(work)]
            machine = HostMachine(await asyncio.create_subprocess_exec(*program, start_new_session=True))
            undo.push(machine.kill)
            # Python 3.11's wait_for loses a cancellation that comes together with the answer.
            async with asyncio.timeout(START_S):
                guest = await arrived
        undo.push(guest.close)
        await guest.hello(timeout_s=START_S)
    return LiveMachine(
        id=f"host-{number}", machine=cast("Machine", machine), guest=guest, undo=undo, metrics=RunMetrics()
    )
