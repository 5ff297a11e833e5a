"""A sandbox: one microVM in which programs run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from emberbox.errors import CompileFailed, InvalidInput
from emberbox.guest import ExecLimits, ExecRequest, InlineFile, WaitingRun
from emberbox.model import (
    CompileResult,
    Limits,
    PackagesResult,
    RunMetrics,
    RunOptions,
    RunResult,
    elapsed_ms,
)
from emberbox.sandbox.compiling.stage import CompileStage, compile_limits, not_compiled
from emberbox.sandbox.files import check_inside, stage_files
from emberbox.sandbox.process import Process
from emberbox.sandbox.vm import SandboxVm

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence

    from emberbox.runtimes import CompileRecipe, Runtime
    from emberbox.sandbox.compiling.cache import CompileCache
    from emberbox.sandbox.machines.live import LiveMachine

WORK = "/work"
"""The folder in the guest that scripts lie in."""


class ScriptParameters(TypedDict, total=False):
    """What one run of a script is given; None is as good as left out.

    - `env`: added to the environment.
    - `files`: put into the work folder first: path → content, or a path on the host.
    - `timeout_s`: wall-clock limit in seconds; None for the sandbox's own.
    - `limits`: all limits; None for the sandbox's own.
    """

    env: Mapping[str, str] | None
    files: Mapping[str, bytes | Path] | None
    timeout_s: float | None
    limits: Limits | None


class Sandbox(SandboxVm):
    """One microVM in use. Made by `Engine.sandbox`; use it with `async with`.

    Runs may follow one another in it and see each other's files: a sandbox is one trust domain.
    Methods raise `SandboxClosed` after its end, and `GuestError` or `VmmError` when its VM is gone.

    Args:
        live: The machine.
        runtime: What `run` runs.
        options: How a script runs that names nothing else.
        limits: Bounds of a run where the options name none; None for the runtime's own.
        waiting: Whether an interpreter waits in it.
        programs: What may be used instead of compiling, and is added to; None always compiles.
    """

    def __init__(
        self,
        live: LiveMachine,
        runtime: Runtime,
        options: RunOptions,
        limits: Limits | None = None,
        *,
        waiting: bool,
        programs: CompileCache | None = None,
    ) -> None:
        super().__init__(live, track_files=programs is not None)
        self._waiting = waiting
        self.runtime = runtime
        self.options = options
        self.limits = options.limits(limits or runtime.limits.of_runs())
        self._programs = programs
        self.packages: PackagesResult | None = None
        """How the packages came that it was opened with; None where it was opened with none."""
        self._compiled: set[str] = set()

    # -- running ----------------------------------------------------------------------------------

    async def run(
        self,
        code: str | bytes | Path,
        args: Sequence[str] | None = None,
        *,
        stdin: bytes | AsyncIterable[bytes] | None = None,
        name: str | None = None,
        **given: Unpack[ScriptParameters],
    ) -> RunResult:
        """Run a script to its end.

        Args:
            code: The script's text, or a path on the host.
            args: The script's arguments; None for the sandbox's own, which has usually none.
            stdin: What it reads; None for nothing.
            name: The script's name in the work folder; None takes the host file's name, or `main`
                with the runtime's extension.
            **given: What `ScriptParameters` tells.

        Returns:
            What became of it. A program that does not compile, that fails, or takes its VM with it,
            is a result and no exception.
        """
        try:
            process = await self.start_script(code, args, stdin=stdin is not None, name=name, **given)
        except CompileFailed as error:
            return not_compiled(error)
        async with process:
            return await process.collect(stdin)

    async def start_script(
        self,
        code: str | bytes | Path,
        args: Sequence[str] | None = None,
        *,
        stdin: bool = False,
        name: str | None = None,
        **given: Unpack[ScriptParameters],
    ) -> Process:
        """Return a script as a process to be followed, compiled already; arguments as for `run`.

        Enter it to start it.

        Raises:
            CompileFailed: Where the runtime compiles: there is no program to start.
        """
        script = self._script_name(code, name)
        # An image's own program takes no script: an empty one would only lie in its folder.
        own = {script: code} if code or self.runtime.takes_script else {}
        return await self._start_script(script, own, args, stdin, **given)

    async def start_file(
        self,
        script: str,
        args: Sequence[str] | None = None,
        *,
        stdin: bool = False,
        **given: Unpack[ScriptParameters],
    ) -> Process:
        """Return a script that lies in the work folder already as a process to be followed.

        That is so of a script that came in an archive.

        Args:
            script: Path below the work folder.
            args: The script's arguments; None for the sandbox's own.
            stdin: True to feed it by `Process.write_stdin`.
            **given: What `ScriptParameters` tells.

        Raises:
            CompileFailed: Where the runtime compiles: there is no program to start.
        """
        check_inside(script)
        return await self._start_script(script, {}, args, stdin, **given)

    async def _start_script(
        self,
        script: str,
        own: Mapping[str, str | bytes | Path],
        args: Sequence[str] | None,
        stdin: bool,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> Process:
        begun = time.perf_counter()
        inline = await stage_files(self, {**own, **(files or {})})
        compiled = None
        if self.runtime.compile is not None:
            compiled, inline = await self._compile(self.runtime.compile, script, inline)
            if not compiled.ok:
                raise CompileFailed(compiled, replace(self._metrics(), total_ms=elapsed_ms(begun)))
        path = script if self.runtime.cwd is None else f"{WORK}/{script}"
        args = self.options.args if args is None else args
        request = ExecRequest(
            argv=self.runtime.command(path, args),
            env={**self.runtime.env, **self.options.variables, **(env or {})},
            cwd=self.runtime.cwd or WORK,
            stdin=stdin,
            files=inline,
            waiting=WaitingRun(self.runtime.program(path), tuple(args)) if self._waiting else None,
        )
        return self._process(request, timeout_s, limits, begun=begun, compiled=compiled)

    async def compile(
        self, script: str, *, timeout_s: float | None = None, limits: Limits | None = None
    ) -> CompileResult:
        """Compile a script that lies in the work folder; the program is then at the script's path and `.out`.

        `run`, `start_script` and `start_file` do so by themselves, each time. The compiler gets the
        runtime's variables, none of a run.

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
        process = self._prepared(
            request, compile_limits(recipe, timeout_s, limits), RunMetrics(), time.perf_counter()
        )
        output = f"{script}.out"
        stage = CompileStage(self, self.runtime, self._programs, output, again=output in self._compiled)
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
        request = ExecRequest(
            argv=tuple(argv), env={**self.runtime.env, **(env or {})}, cwd=cwd, user=user, stdin=stdin
        )
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
        metrics, self._live.metrics = self._live.metrics, RunMetrics()
        return metrics

    def _script_name(self, code: str | bytes | Path, name: str | None) -> str:
        if name is not None:
            return name
        return code.name if isinstance(code, Path) else self.runtime.inline_name
