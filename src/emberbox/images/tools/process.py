"""Runs a tool of the host, or blocking work, for a build: bounded, and ended with it on cancel."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emberbox.errors import ImageBuildFailed, NoSpace
from emberbox.files.paths import without_folders
from emberbox.tasks import acquired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

KEPT_BYTES = 4096
"""How much of a tool's output is kept for the error's detail."""
_CAPTURE_BYTES = 16 * 1024 * 1024
_CAPTURE_S = 60.0
_FULL = ("No space left on device", "Disk quota exceeded", "not enough free space")
"""What tools say of a full disk."""
_TERMINATE_S = 10.0
_KILL_S = 10.0


async def run_tool(
    argv: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    stdout: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program to its end.

    Args:
        argv: The program's path and its arguments.
        what: What it does, for the error: "unpack the kernel".
        timeout_s: Bound in seconds.
        cwd: Its folder; None for the present one.
        env: Added to this process's environment.
        stdin: File to read from; None for nothing.
        stdout: File that takes its standard output; None keeps it with standard error.
        on_line: Takes each line of the kept output as it comes.

    Returns:
        The last `KEPT_BYTES` of what it printed.

    Raises:
        ImageBuildFailed: It could not be started, ended with another code than 0 or reached its
            bound; it is gone.
        NoSpace: It failed for want of disk space.

    Safe to cancel: the program and its children are ended first.
    """
    with ExitStack() as files:
        source = files.enter_context(stdin.open("rb")) if stdin is not None else None
        target = files.enter_context(stdout.open("wb")) if stdout is not None else None
        try:
            starting = asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
                stdin=source if source is not None else asyncio.subprocess.DEVNULL,
                stdout=target if target is not None else asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE if target is not None else asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            process = await acquired(starting, end_group)
        except OSError as error:
            program = Path(argv[0]).name
            raise ImageBuildFailed(
                f"could not {what}: {program} does not start: {error.strerror}", detail=argv[0]
            ) from error
        tail = _Tail(on_line)
        stream = process.stderr if target is not None else process.stdout
        try:
            async with asyncio.timeout(timeout_s):
                if stream is not None:
                    await tail.read(stream)
                code = await process.wait()
        except TimeoutError as error:
            await end_group(process)
            raise ImageBuildFailed(
                f"could not {what}: not done within {timeout_s:.0f} s", detail=tail.text()
            ) from error
        except BaseException:
            await asyncio.shield(end_group(process))
            raise
        # Children that outlive the tool would go on writing into a folder that is being removed.
        _signal(process.pid, signal.SIGKILL)
    if code != 0:
        raise _failure(what, argv[0], code, tail.text())
    return tail.text()


async def run_capture(argv: Sequence[str], *, what: str, env: Mapping[str, str] | None = None) -> str:
    """Run a program as `run_tool` does, for a minute at most; return its standard output, up to 16 MiB."""
    with tempfile.TemporaryDirectory(prefix="emberbox-") as folder:
        output = Path(folder) / "output"
        await run_tool(argv, what=what, timeout_s=_CAPTURE_S, env=env, stdout=output)
        with output.open("rb") as stream:
            return stream.read(_CAPTURE_BYTES).decode("utf-8", "replace")


async def end_group(process: asyncio.subprocess.Process) -> None:
    """End a process and its group: ask first, so that it can clean up, then kill. Returns when it is gone."""
    for number, bound_s in ((signal.SIGTERM, _TERMINATE_S), (signal.SIGKILL, _KILL_S)):
        _signal(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound_s):
                await process.wait()
                break
    _signal(process.pid, signal.SIGKILL)


def _failure(what: str, program: str, code: int, output: str) -> Exception:
    if any(mark in output for mark in _FULL):
        return NoSpace(
            f"could not {what}: the disk is full. Free some space, or set another data folder.", detail=output
        )
    ended = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
    last = without_folders(output.strip().rpartition("\n")[2].strip())
    _log.warning(
        "%s %s", program, ended, extra={"action": "images.tool_failed", "program": program, "output": output}
    )
    return ImageBuildFailed(
        f"could not {what}: {Path(program).name} {ended}" + (f": {last}" if last else ""), detail=output
    )


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Tail:
    """Keeps the end of a stream and hands on its lines."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._kept = bytearray()
        self._line = bytearray()

    async def read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(4096):
            self._kept += chunk
            del self._kept[:-KEPT_BYTES]
            self._hand_on(chunk)

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")

    def _hand_on(self, chunk: bytes) -> None:
        if self._on_line is None:
            return
        self._line += chunk
        *lines, rest = bytes(self._line).replace(b"\r", b"\n").split(b"\n")
        self._line = bytearray(rest[-KEPT_BYTES:])
        for line in lines:
            if line.strip():
                self._on_line(line.decode("utf-8", "replace").rstrip())


async def in_thread(function: Callable[[threading.Event], _Result]) -> _Result:
    """Run blocking work in a thread; a cancelled task sets the work's event and awaits its end."""
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(function, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        with contextlib.suppress(Exception):
            await work
        raise
