"""A sandbox: one microVM in use."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from emberbox.errors import CompileFailed, EmberboxError, InvalidInput, SandboxClosed
from emberbox.guest import ExecLimits, ExecRequest, InlineFile, WaitingRun
from emberbox.model import Limits, RunMetrics
from emberbox.sandbox.compiling import CompileStage, compile_limits, not_compiled
from emberbox.sandbox.process import Process
from emberbox.sandbox.sources import SourceLog, TrackedFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from types import TracebackType

    from emberbox.guest import GuestClient
    from emberbox.model import CompileResult, GuestMetrics, PackagesResult, RunResult
    from emberbox.runtimes import CompileRecipe, Runtime
    from emberbox.sandbox.compile_cache import ScopedCache
    from emberbox.sandbox.machines import LiveMachine
    from emberbox.vmm.base import MachineState

CONFIRM_S = 60.0
WORK = "/work"
"""The folder in the guest that scripts lie in."""
INLINE_BYTES = 65_536
"""Files up to this size travel inside the request that runs them; larger ones are streamed ahead of it."""


class Sandbox(TrackedFiles):
    """One microVM in use. Made by `Engine.sandbox`; use it with `async with`.

    Runs may follow one another in it and see each other's files: a sandbox is one trust domain. Methods raise `SandboxClosed`
    after its end, and `GuestError` or `VmmError` when its VM is gone.

    Args:
        live: The machine.
        runtime: What `run` runs.
        limits: Bounds of a run that names none.
        waiting: Whether an interpreter waits in it.
        programs: What may be used instead of compiling, and is added to; None always compiles.
    """

    def __init__(
        self, live: LiveMachine, runtime: Runtime, limits: Limits, *, waiting: bool, programs: ScopedCache | None = None
    ) -> None:
        self._live = live
        self._waiting = waiting
        self._runs = 0
        self._closed = False
        self.runtime = runtime
        self.limits = limits
        self._programs = programs
        self.packages: PackagesResult | None = None
        """How the packages came that it was opened with; None where it was opened with none."""
        self._compiled: set[str] = set()
        self.sources = SourceLog(kept=programs is not None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def id(self) -> str:
        """Unique among live sandboxes; also the guest's hostname, behind `ember-`."""
        return self._live.id

    @property
    def pid(self) -> int:
        """Host pid of the VMM process."""
        return self._live.machine.pid

    @property
    def state(self) -> MachineState:
        """What the VM is doing."""
        return self._live.machine.poll()

    @property
    def closed(self) -> bool:
        """Whether the sandbox has ended."""
        return self._closed

    @property
    def guest(self) -> GuestClient:
        """The agent's client; raises `SandboxClosed` after the end."""
        if self._closed:
            raise SandboxClosed(f"the sandbox {self.id} has ended")
        return self._live.guest

    # -- running ---------------------------------------------------------------------------------------------

    async def run(
        self,
        code: str | bytes | Path,
        args: Sequence[str] = (),
        *,
        stdin: bytes | AsyncIterable[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
        name: str | None = None,
    ) -> RunResult:
        """Run a script to its end.

        Args:
            code: The script's text, or a path on the host.
            args: The script's arguments.
            stdin: What it reads; None for nothing.
            env: Added to the environment.
            files: Put beside the script first: path in the work folder → content, or a path on the host.
            timeout_s: Wall-clock limit in seconds; None for the sandbox's own.
            limits: All limits; None for the sandbox's own.
            name: The script's name in the work folder; None takes the host file's name, or `main` with the runtime's extension.

        Returns:
            What became of it. A program that does not compile, that fails, or takes its VM with it, is a result and no exception.
        """
        try:
            process = await self.start_script(
                code, args, stdin=stdin is not None, env=env, files=files, timeout_s=timeout_s, limits=limits, name=name
            )
        except CompileFailed as error:
            return not_compiled(error)
        async with process:
            return await process.collect(stdin)

    async def start_script(
        self,
        code: str | bytes | Path,
        args: Sequence[str] = (),
        *,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
        name: str | None = None,
    ) -> Process:
        """Return a script as a process to be followed, compiled already; arguments as for `run`. Enter it to start it.

        Raises:
            CompileFailed: Where the runtime compiles: there is no program to start.
        """
        script = self._script_name(code, name)
        # An image's own program takes no script: an empty one would only lie in its folder.
        own = {script: code} if code or self.runtime.takes_script else {}
        return await self._start_script(script, {**own, **(files or {})}, args, stdin, env, timeout_s, limits)

    async def start_file(
        self,
        script: str,
        args: Sequence[str] = (),
        *,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> Process:
        """Return a script that lies in the work folder already, as from an archive, as a process to be followed.

        Args:
            script: Path below the work folder.
            args: The script's arguments.
            stdin: True to feed it by `Process.write_stdin`.
            env: Added to the environment.
            files: Put into the work folder first: path → content, or a path on the host.
            timeout_s: Wall-clock limit in seconds; None for the sandbox's own.
            limits: All limits; None for the sandbox's own.

        Raises:
            CompileFailed: Where the runtime compiles: there is no program to start.
        """
        check_inside(script)
        return await self._start_script(script, files or {}, args, stdin, env, timeout_s, limits)

    async def _start_script(
        self,
        script: str,
        files: Mapping[str, str | bytes | Path],
        args: Sequence[str],
        stdin: bool,
        env: Mapping[str, str] | None,
        timeout_s: float | None,
        limits: Limits | None,
    ) -> Process:
        begun = time.perf_counter()
        staged = [await self._stage(path, content) for path, content in files.items()]
        inline = tuple(file for file in staged if file is not None)
        compiled = None
        if self.runtime.compile is not None:
            compiled, inline = await self._compile(self.runtime.compile, script, inline)
            if not compiled.ok:
                raise CompileFailed(compiled, replace(self._metrics(), total_ms=(time.perf_counter() - begun) * 1000))
        path = script if self.runtime.cwd is None else f"{WORK}/{script}"
        request = ExecRequest(
            argv=self.runtime.command(path, args),
            env={**self.runtime.env, **(env or {})},
            cwd=self.runtime.cwd or WORK,
            stdin=stdin,
            files=inline,
            waiting=WaitingRun(self.runtime.program(path), tuple(args)) if self._waiting else None,
        )
        return self._process(request, timeout_s, limits, begun=begun, compiled=compiled)

    async def compile(self, script: str, *, timeout_s: float | None = None, limits: Limits | None = None) -> CompileResult:
        """Compile a script that lies in the work folder; the program is then at the script's path and `.out`.

        `run`, `start_script` and `start_file` do so by themselves, each time. The compiler gets the runtime's variables, none of
        a run.

        Args:
            script: Path below the work folder.
            timeout_s: Wall-clock limit in seconds; None for the runtime's own.
            limits: All limits; None for the runtime's own.

        Raises:
            InvalidInput: This runtime compiles nothing.
        """
        check_inside(script)
        if self.runtime.compile is None:
            raise InvalidInput(f"the runtime {self.runtime.name} compiles nothing: run the script as it is")
        return (await self._compile(self.runtime.compile, script, (), timeout_s, limits))[0]

    async def _compile(
        self,
        recipe: CompileRecipe,
        script: str,
        files: tuple[InlineFile, ...],
        timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> tuple[CompileResult, tuple[InlineFile, ...]]:
        """Return the result, and which of `files` the run is still to bring."""
        argv = self.runtime.compile_command(script) or ()
        request = ExecRequest(argv=argv, env={**self.runtime.env, **recipe.env}, files=files)
        process = self._prepared(request, compile_limits(recipe, timeout_s, limits), RunMetrics(), time.perf_counter())
        output = f"{script}.out"
        stage = CompileStage(self, self._programs, output, again=output in self._compiled)
        self._compiled.add(output)
        return await stage.compile(process, request), stage.undelivered

    def start(
        self,
        argv: Sequence[str],
        *,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: str = WORK,
        user: str | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> Process:
        """Return a command as a process to be followed: `async with sandbox.start(["ls", "-l"]) as process`.

        Args:
            argv: Program and arguments, looked up in the guest's PATH.
            stdin: True to feed it by `Process.write_stdin`.
            env: Added to the environment.
            cwd: Folder in the guest.
            user: None for the unprivileged user, `root`, or `uid:gid`, all in the guest.
            timeout_s: Wall-clock limit in seconds; None for the sandbox's own.
            limits: All limits; None for the sandbox's own. Of a process that is followed, output is not cut.
        """
        request = ExecRequest(argv=tuple(argv), env={**self.runtime.env, **(env or {})}, cwd=cwd, user=user, stdin=stdin)
        return self._process(request, timeout_s, limits, keep_all=True)

    async def command(self, argv: Sequence[str], *, stdin: bytes | None = None, **options: Any) -> RunResult:
        """Run a command to its end; options as for `start`."""
        async with self.start(argv, stdin=stdin is not None, **options) as process:
            return await process.collect(stdin)

    def _process(
        self,
        request: ExecRequest,
        timeout_s: float | None,
        limits: Limits | None,
        *,
        keep_all: bool = False,
        begun: float | None = None,
        compiled: CompileResult | None = None,
    ) -> Process:
        self.sources.lose()
        chosen = limits or self.limits
        if timeout_s is not None:
            chosen = replace(chosen, timeout_s=timeout_s)
        begun = time.perf_counter() if begun is None else begun
        return self._prepared(request, chosen, self._metrics(), begun, keep_all=keep_all, compiled=compiled)

    def _prepared(
        self,
        request: ExecRequest,
        limits: Limits,
        metrics: RunMetrics,
        begun: float,
        *,
        keep_all: bool = False,
        compiled: CompileResult | None = None,
    ) -> Process:
        bounds = ExecLimits.from_limits(limits)
        if keep_all:
            bounds = replace(bounds, stdout_keep=None, stderr_keep=None)
        return Process(self, replace(request, limits=bounds), limits, metrics, begun, compiled)

    def _metrics(self) -> RunMetrics:
        """Charge the machine's making to its first run."""
        self._runs += 1
        if self._runs > 1:
            return RunMetrics()
        return RunMetrics(queue_ms=self._live.queue_ms, boot_ms=self._live.boot_ms, source=self._live.source)

    def _script_name(self, code: str | bytes | Path, name: str | None) -> str:
        if name is not None:
            return name
        return code.name if isinstance(code, Path) else self.runtime.inline_name

    async def _stage(self, path: str, content: str | bytes | Path) -> InlineFile | None:
        """Return a small file for the request, or write a large one ahead of it."""
        check_inside(path)
        if isinstance(content, Path):
            content = await asyncio.to_thread(_read_host_file, content)
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        if len(data) <= INLINE_BYTES:
            self.sources.note_file(path, data)
            return InlineFile(path, data)
        await self.write_file(path, data)
        return None

    # -- state -----------------------------------------------------------------------------------------------

    async def metrics(self) -> GuestMetrics:
        """Return the guest's own count of its memory, disk, CPU time and processes."""
        return await self.guest.metrics()

    async def confirm(self) -> None:
        """Wait until the clone has said that it is no twin; free once it has."""
        await self._live.confirm(CONFIRM_S)

    async def obituary(self, error: EmberboxError) -> str:
        """Say why the VM is gone, as far as it can be told."""
        try:
            async with asyncio.timeout(1.0):
                code = await self._live.machine.wait()
        except TimeoutError:
            return f"lost the agent in the VM: {error.message}"
        console = self._live.machine.console().strip().splitlines()
        last = f"; its console ends in: {console[-1][:200]}" if console else ""
        return f"the VM ended under the run (exit code {code}){last}"

    async def kill(self) -> None:
        """End the sandbox at once. Repeating is harmless; finishes even when cancelled."""
        await self.close()

    async def close(self) -> None:
        """End the sandbox and give back all that it held. Repeating is harmless; finishes even when cancelled."""
        self._closed = True
        await self._live.undo.close()


def check_inside(path: str) -> None:
    """Raise `InvalidInput` for a path that a staged file cannot have."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or ".." in pure.parts:
        raise InvalidInput(f"{path!r} cannot name a file in the work folder: it must not be empty, hold NUL or '..'")


def _read_host_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
