"""`emberbox run`: one program in a VM of its own, its output as it comes."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.cli import context, exit_codes
from emberbox.cli.failures import printable, say, write_line
from emberbox.cli.inputs import check_folder, read_environment, read_files
from emberbox.cli.interrupts import run_interruptible
from emberbox.cli.run.output_files import fetch
from emberbox.cli.run.program import Program, program_arguments, read_program
from emberbox.cli.streams import Sink, feeding, read_pieces
from emberbox.errors import CompileFailed, PackagesFailed
from emberbox.model import MIB, RunResult, RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from emberbox.cli.context import GlobalOptions
    from emberbox.cli.run.options import RunLine
    from emberbox.config import Settings
    from emberbox.model import CompileResult, Limits, RunOptions
    from emberbox.runtimes import Runtime
    from emberbox.sandbox import Engine, Process, Sandbox

QUIET_S = 1.5
"""A preparation that takes longer than this is told of."""
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def execute(options: GlobalOptions, run: RunLine) -> int:
    """Carry out `emberbox run`; returns the exit code.

    Raises:
        EmberboxError: Before the program ran: a mistake in the options, no image and no way to
            build one, no VM.
        BrokenPipeError: Nobody reads the output any more; the program was ended.
    """
    context.configure_logging(options)
    settings = options.settings()
    env, secret_env = read_environment(run.env), read_environment(run.secret_env, "--secret-env")
    files = read_files(run.files)
    program = read_program(run, context.catalog(settings))
    how = replace(run.options, args=program_arguments(run, program.runtime), env=env, secret_env=secret_env)
    if run.output_dir is not None:
        check_folder(run.output_dir)
    return run_interruptible(lambda: _run(settings, run, program, how, files))


async def _run(
    settings: Settings,
    run: RunLine,
    program: Program,
    how: RunOptions,
    files: Mapping[str, Path],
) -> int:
    async with context.make_engine(settings) as engine:
        await _prepare(engine, run, program.runtime)
        try:
            async with _opened(engine, run, program.runtime, how) as sandbox:
                try:
                    result = await _run_in(sandbox, run, program, files)
                except CompileFailed as error:
                    result = await _not_compiled(run, error)
                if run.output_dir is not None:
                    result = await fetch(sandbox, result, run.output_dir)
                if run.requirements is not None:
                    result = replace(result, packages=sandbox.packages)
        except PackagesFailed as error:
            result = await _without_packages(run, error)
    return _tell(run, result)


@asynccontextmanager
async def _opened(engine: Engine, run: RunLine, runtime: Runtime, how: RunOptions) -> AsyncIterator[Sandbox]:
    """Open the sandbox; says so where packages are installed first, which takes a while."""
    from emberbox.cli.progress import ShownProgress

    packages: dict[str, Any] = {} if run.requirements is None else {"packages": Path(run.requirements)}
    shown: dict[str, Any] = {}
    if run.console:
        shown["console"] = _show_line
    async with AsyncExitStack() as stack:
        opening = engine.sandbox(runtime.name, how, limits=_limits(run, runtime), **packages, **shown)
        if packages:
            with ShownProgress(f"preparing the packages of {run.requirements}", after_s=QUIET_S):
                sandbox = await stack.enter_async_context(opening)
        else:
            sandbox = await stack.enter_async_context(opening)
        yield sandbox


def _show_line(line: str) -> None:
    """Write one line of the guest's console, marked as such, and dimmed on a terminal."""
    text = f"console | {printable(line)}"
    write_line(f"{_DIM}{text}{_PLAIN}" if sys.stderr.isatty() else text)


async def _without_packages(run: RunLine, error: PackagesFailed) -> RunResult:
    """Show what the package tool said."""
    if not run.json:
        await Sink(_STDERR).write(error.result.output_data)
    return RunResult(status=RunStatus.PACKAGES_FAILED, message=error.message, packages=error.result)


async def _run_in(sandbox: Sandbox, run: RunLine, program: Program, files: Mapping[str, Path]) -> RunResult:
    stdin = read_pieces(_STDIN) if _passes_stdin(run) else None
    fed = stdin is not None
    script = await sandbox.start_script(program.code, stdin=fed, files=dict(files), name=program.name)
    async with script as process:
        return await process.collect(stdin) if run.json else await _follow(process, stdin)


async def _not_compiled(run: RunLine, error: CompileFailed) -> RunResult:
    """Show what the compiler said. Of one that succeeds nothing is shown: standard error is the program's."""
    from emberbox.sandbox.compiling.stage import not_compiled

    compiled: CompileResult = error.result
    if not run.json:
        await Sink(_STDERR).write(compiled.stdout_data + compiled.stderr_data)
    return not_compiled(error)


async def _prepare(engine: Engine, run: RunLine, runtime: Runtime) -> None:
    """Have the image and, unless booting cold, the template; says so where that takes a while."""
    from emberbox.cli.progress import ShownProgress

    with ShownProgress(f"preparing {runtime.name} for its first use here", after_s=QUIET_S) as progress:
        if run.options.cold:
            await engine.image(runtime, progress)
        else:
            size = {"memory_mib": run.options.memory_mib, "vcpus": run.options.vcpus}
            await engine.template(runtime.name, **size, progress=progress)


def _limits(run: RunLine, runtime: Runtime) -> Limits:
    """Return the bounds that the options leave open, of which the command line can take some away."""
    usual = runtime.limits.of_runs()
    return replace(
        usual,
        timeout_s=usual.timeout_s if run.timeout_s is None else run.timeout_s or None,
        output_bytes=usual.output_bytes if run.max_output_mib is None else run.max_output_mib * MIB or None,
        keep_bytes=usual.keep_bytes if run.json else None,
    )


def _passes_stdin(run: RunLine) -> bool:
    if run.file == "-":
        return False
    return run.interactive or not os.isatty(_STDIN)


async def _follow(process: Process, stdin: AsyncIterable[bytes] | None) -> RunResult:
    """Copy output to where it belongs until the program ends, feeding it meanwhile."""
    sinks = {"stdout": Sink(_STDOUT), "stderr": Sink(_STDERR)}
    async with nullcontext() if stdin is None else feeding(_feed(process, stdin), "run-stdin"):
        async for piece in process.output():
            await sinks[piece.stream].write(piece.data)
    return await process.result()


async def _feed(process: Process, stdin: AsyncIterable[bytes]) -> None:
    from emberbox.errors import GuestError, VmmError

    try:
        async for data in stdin:
            await process.write_stdin(data)
        await process.close_stdin()
    except (GuestError, VmmError):
        return  # the output ends as well, and its reader tells why


def _tell(run: RunLine, result: RunResult) -> int:
    if run.json:
        from emberbox.cli.tables import print_json

        print_json(result.to_dict())
    elif result.message is not None and result.status is not RunStatus.SUCCEEDED:
        say(result.message)
    if run.time:
        from emberbox.cli.run.times import table

        write_line(table(result.metrics, result.compile))
    return exit_codes.of_result(result)
