"""The same interpreter, in the same root file system, under gVisor's `runsc` (runsc(1): `do`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparators.gvisor import WAYS, check_runsc
from emberbox.bench.samplers.base import BenchError, Unavailable, time_process
from emberbox.languages.examples import GREETING
from emberbox.languages.timings import Spread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from emberbox.images import Image
    from emberbox.runtimes import Runtime

RUN_S = 60.0
UNPACK_S = 300.0
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORK = "work"


class Sentry:
    """gVisor on one unpacked root file system.

    Args:
        root: The root file system, which compilers may write to.
        options: Of `runsc` itself.
    """

    def __init__(self, root: Path, options: tuple[str, ...]) -> None:
        self._root = root
        self.options = options

    async def run(
        self, runtime: Runtime, argv: Sequence[str], *, expected: bytes | None = None, keep: bool = False
    ) -> float:
        """Run a command to its end; returns milliseconds from the start of `runsc` to its end.

        Args:
            runtime: Whose environment it gets.
            argv: The command.
            expected: What it must print; None for anything.
            keep: Whether what it writes stays in the root file system.

        Raises:
            BenchError: It failed, took too long, or printed something else.
        """
        env = [f"{name}={value}" for name, value in runtime.env.items()]
        overlay = ("-force-overlay=false",) if keep else ()
        place = ("-root", str(self._root), "-cwd", f"/{WORK}")
        command = ("/usr/bin/env", PATH, "HOME=/tmp", *env, *argv)
        return await _run(
            ("runsc", *self.options, "--network=none", "do", *overlay, *place, *command),
            RUN_S,
            expected,
        )


async def measure(
    runtime: Runtime, image: Image, hello: Path, count: int, budget_s: float
) -> tuple[Spread, str]:
    """Run a runtime's `hello` under gVisor, after compiling it there if it must be.

    Returns:
        The samples, in milliseconds from the start of `runsc` to its end, and how they were taken.

    Raises:
        Unavailable, BenchError: It does not run here; the text says why.
    """
    check_runsc()
    async with unpacked(image) as root:
        script = f"/{WORK}/hello{hello.suffix}"
        (root / WORK).mkdir(exist_ok=True)
        (root / script[1:]).write_bytes(hello.read_bytes())
        sentry = await _choose(runtime, root)
        compile_argv = runtime.compile_command(script)
        if compile_argv is not None and runtime.compile is not None:
            env = [f"{name}={value}" for name, value in runtime.compile.env.items()]
            await sentry.run(runtime, ["/usr/bin/env", *env, *compile_argv], keep=True)
        spread, begun = Spread(), time.monotonic()
        while len(spread.samples) < count and (not spread.samples or time.monotonic() - begun < budget_s):
            spread.samples.append(await sentry.run(runtime, runtime.command(script), expected=GREETING))
    return spread, " ".join(("runsc", *sentry.options, "--network=none do"))


async def _choose(runtime: Runtime, root: Path) -> Sentry:
    failures = []
    for way in WAYS:
        sentry = Sentry(root, way)
        try:
            await sentry.run(runtime, ["true"])
        except BenchError as reason:
            failures.append(str(reason))
        else:
            return sentry
    raise Unavailable(f"runsc runs nothing here: {failures[-1]}")


@contextlib.asynccontextmanager
async def unpacked(image: Image) -> AsyncIterator[Path]:
    """Yield a folder with a copy of an image's root file system; it is removed afterwards.

    Raises `Unavailable`, `BenchError`.
    """
    program = shutil.which("debugfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Unavailable(
            "debugfs, which unpacks root file systems, is not installed (Debian: apt-get install e2fsprogs)"
        )
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="emberbox-root-"))
    try:
        await _run((program, "-R", f"rdump / {folder}", str(image.rootfs)), UNPACK_S)
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def _run(argv: Sequence[str], timeout_s: float, expected: bytes | None = None) -> float:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/"}
    return await time_process(argv, environment=environment, timeout_s=timeout_s, expected=expected)
