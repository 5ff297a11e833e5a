"""Warming, waiting and priming: what a template does before it is frozen, and a clone before its use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed
from emberbox.guest import (
    ExecLimits,
    ExecRequest,
    GuestClient,
    HeldCommand,
    InlineFile,
    WaitingRun,
    WaitingSpec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.runtimes import Runtime

WARM_TIMEOUT_S = 300.0


async def warm(guest: GuestClient, runtime: Runtime) -> bool:
    """Run the runtime's warming scripts, start what waits, and leave the guest ready to be frozen.

    Returns:
        Whether anything waits.

    Raises:
        ImageBuildFailed: A warming script failed, or what is to wait did not come to it.
    """
    for script in runtime.warm.run:
        await _run_script(guest, runtime, script, f"/tmp/emberbox_{script.name}")  # noqa: S108  in the guest
    waiting = await _let_wait(guest, runtime)
    await prime(guest, runtime, waiting=waiting)
    await _let_wait(guest, runtime)  # the first ones are used up
    await guest.flush(timeout_s=WARM_TIMEOUT_S)
    return waiting


async def prime(guest: GuestClient, runtime: Runtime, *, waiting: bool) -> None:
    """Run the runtime's priming script in a fresh clone.

    The code on the way of a run is then translated already. What is held is held at inline code's name:
    the priming script takes that name.
    """
    script = runtime.warm.prime
    if script is not None:
        path = runtime.inline_name if runtime.holds else f"/tmp/emberbox_{script.name}"  # noqa: S108  in the guest
        await _run_script(guest, runtime, script, path, waiting=waiting)


async def _let_wait(guest: GuestClient, runtime: Runtime) -> bool:
    spec, held = _waiting_spec(runtime), _held_commands(runtime)
    if spec is None and not held:
        return False
    prepared = await guest.prepare(waiting=spec, held=held, timeout_s=WARM_TIMEOUT_S)
    if not prepared.waiting:
        raise ImageBuildFailed(
            f"{runtime.name} does not come to wait in its template: {prepared.waiting_error}"
        )
    return True


def _waiting_spec(runtime: Runtime) -> WaitingSpec | None:
    recipe = runtime.waiting
    if recipe is None or recipe.hold is not None:
        return None
    argv = tuple(argument.replace("{placeholder}", placeholder()) for argument in recipe.argv)
    return WaitingSpec(argv=argv, env=dict(recipe.env), preload=recipe.preload)


def _held_commands(runtime: Runtime) -> list[HeldCommand]:
    """Return the commands that inline code is compiled and run by, as far as they are held."""
    source, held = runtime.inline_name, []
    if runtime.compile is not None and runtime.compile.hold:
        argv = runtime.compile_command(source) or ()
        held.append(
            HeldCommand(argv=argv, script=source, env={**runtime.env, **runtime.compile.env}, once=True)
        )
    if runtime.waiting is not None and runtime.waiting.hold is not None:
        opened = runtime.waiting.hold == "read"
        held.append(
            HeldCommand(
                argv=runtime.command(source), script=runtime.program(source), env=runtime.env, opened=opened
            )
        )
    return held


async def _run_script(
    guest: GuestClient, runtime: Runtime, script: Path, path: str, *, waiting: bool = False
) -> None:
    file = InlineFile(path, await asyncio.to_thread(script.read_bytes))
    for argv, env in _commands(runtime, path, shell=script.suffix == ".sh"):
        request = ExecRequest(
            argv=argv,
            env=dict(env),
            files=(file,),
            # A compiler's turn is not what the interpreter waits for.
            waiting=WaitingRun(runtime.program(path)) if waiting and argv == runtime.command(path) else None,
            limits=ExecLimits(wall_ms=int(WARM_TIMEOUT_S * 1000)),
        )
        process = await guest.start(request)
        outcome = await process.collect(keep_stdout=4096, keep_stderr=4096, timeout_s=None)
        if outcome.exit_code != 0:
            text = (outcome.stderr or outcome.stdout).decode("utf-8", "replace").strip()
            problem = (
                f"{script.name} failed in the template of {runtime.name}: {text[-500:] or outcome.reason}"
            )
            raise ImageBuildFailed(problem, detail=text)
    await guest.delete(path, missing_ok=True)
    if runtime.compile is not None:
        await guest.delete(f"{path}.out", missing_ok=True, recursive=True)


def _commands(runtime: Runtime, path: str, *, shell: bool) -> list[tuple[tuple[str, ...], Mapping[str, str]]]:
    """Return what runs a script: its run, behind its compilation.

    A compiled runtime may have a shell script as well.
    """
    if runtime.compile is None or (command := runtime.compile_command(path)) is None:
        return [(runtime.command(path), runtime.env)]
    if shell:
        return [(("sh", path), runtime.env)]
    return [(command, {**runtime.env, **runtime.compile.env}), (runtime.command(path), runtime.env)]


def placeholder() -> str:
    """Return the path that a waiting interpreter is started with.

    It is long enough to be overwritten by any script's path.
    """
    return "/emberbox-waiting-".ljust(3900, "x")
