"""What is measured in turns: one sample at a time of each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence

    from emberbox.model import RunResult
    from emberbox.sandbox import Engine

HELLO = 'print("hello world")'
"""The program of all latencies."""
GREETING = b"hello world\n"
SETTLE_S = 30.0


class BenchError(Exception):
    """A sample failed; the text says why. Stays within the benchmark: the sample counts as failed."""


class Unavailable(Exception):
    """Something cannot be measured here; the text says why."""


class Sampler(Protocol):
    """One latency, measured in turns with others.

    Attributes:
        name: Stable, for programs.
        label: For people.
        note: How it is measured, where that matters.
    """

    name: str
    label: str
    note: str

    async def open(self) -> None:
        """Get ready and take one sample that does not count.

        Raises `Unavailable` when it cannot be measured here.
        """

    async def sample(self) -> float:
        """Measure once, in milliseconds; waits until what the sample left behind is gone.

        Raises `BenchError`.
        """

    async def close(self) -> None:
        """Remove all that was made. Repeating is harmless."""


def checked(result: RunResult) -> RunResult:
    """Return the result of a hello if it is one. Raises `BenchError`."""
    if not result.ok or result.stdout_data != GREETING:
        raise BenchError(
            f"{result.status.value}: {result.message or result.stderr[-200:] or result.stdout[:200]}"
        )
    return result


def ms_since(begun: float) -> float:
    """Return the milliseconds since a moment of `time.perf_counter`."""
    return (time.perf_counter() - begun) * 1000


async def at_rest(engine: Engine, machines: int = 0) -> bool:
    """Wait until only `machines` machines live; returns False when more still do after `SETTLE_S`."""
    deadline = time.monotonic() + SETTLE_S
    while engine.machines > machines:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


async def settle(engine: Engine, machines: int = 0) -> None:
    """Wait as `at_rest` does, so that ending a machine does not disturb the next sample.

    Raises `BenchError`.
    """
    if not await at_rest(engine, machines):
        raise BenchError(f"{engine.machines} machines still live after {SETTLE_S:g} s, expected {machines}")


async def together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `works` at once; the first that fails ends the others, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def time_process(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
    expected: bytes | None = GREETING,
) -> float:
    """Run a process on the host to its end and return the milliseconds that it took.

    Args:
        argv: Program and arguments.
        environment: All its variables; None for a bare PATH, so that the caller's shell does not matter.
        timeout_s: Bound in seconds; then its process group is killed.
        expected: What it must write to standard output; None for anything.

    Raises:
        BenchError: It failed, wrote something else, or took too long.
    """
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/"} if environment is None else dict(environment)
    started: list[subprocess.Popen[bytes]] = []
    try:
        return await asyncio.to_thread(_time_process, list(argv), variables, timeout_s, expected, started)
    except asyncio.CancelledError:
        for process in started:
            _kill_group(process)
        raise


def _time_process(
    argv: list[str],
    environment: dict[str, str],
    timeout_s: float,
    expected: bytes | None,
    started: list[subprocess.Popen[bytes]],
) -> float:
    begun = time.perf_counter()
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise BenchError(f"{argv[0]}: {error.strerror}") from error
    started.append(process)
    # Popen's own timeout polls with growing pauses, which would show in samples this short.
    timer = threading.Timer(timeout_s, _kill_group, (process,))
    timer.start()
    try:
        output, errors = process.communicate()
    finally:
        timer.cancel()
        timer.join()
    elapsed_ms = ms_since(begun)
    if process.returncode != 0 or (expected is not None and output != expected):
        text = (errors or output).decode("utf-8", "replace").strip()
        raise BenchError(
            f"{argv[0]} ended with {process.returncode} after {elapsed_ms:.0f} ms: {text[-300:]}"
        )
    return elapsed_ms


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
