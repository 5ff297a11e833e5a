"""The same interpreter, in the same root file system, under gVisor's `runsc` (runsc(1): `do`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.languages.examples import GREETING
from emberbox.languages.timings import Spread
from emberbox.languages.verdict import Skipped, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from emberbox.images import Image
    from emberbox.runtimes import Runtime

PLATFORMS = ("systrap", "ptrace")
"""gVisor's platforms without hardware virtualization; versions know one or both."""
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

    async def run(self, runtime: Runtime, argv: Sequence[str], *, keep: bool = False) -> tuple[float, bytes]:
        """Run a command to its end.

        Args:
            runtime: Whose environment it gets.
            argv: The command.
            keep: Whether what it writes stays in the root file system.

        Returns:
            Milliseconds from the start of `runsc` to its end, and what was printed.

        Raises:
            Skipped: It failed or took too long.
        """
        env = [f"{name}={value}" for name, value in {**runtime.env}.items()]
        overlay = ("-force-overlay=false",) if keep else ()
        command = ("do", *overlay, "-root", str(self._root), "-cwd", f"/{WORK}", "/usr/bin/env", PATH, "HOME=/tmp", *env, *argv)
        return await run_process(("runsc", *self.options, "--network=none", *command))


async def measure(runtime: Runtime, image: Image, hello: Path, count: int, budget_s: float) -> tuple[Spread, str]:
    """Run a runtime's `hello` under gVisor, after compiling it there if it must be.

    Returns:
        The samples, in milliseconds from the start of `runsc` to its end, and how they were taken.

    Raises:
        Skipped: It does not run here; the text says why.
    """
    if shutil.which("runsc") is None:
        raise Skipped("runsc is not installed (Debian: apt-get install runsc)")
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
            elapsed_ms, printed = await sentry.run(runtime, runtime.command(script))
            if printed != GREETING:
                raise Skipped(f"it prints {printed[:80]!r} there")
            spread.samples.append(elapsed_ms)
    return spread, " ".join(("runsc", *sentry.options, "--network=none do"))


async def _choose(runtime: Runtime, root: Path) -> Sentry:
    failures = []
    for platform in PLATFORMS:
        for rootless in ((), ("--rootless",)):
            sentry = Sentry(root, (*rootless, f"--platform={platform}"))
            try:
                await sentry.run(runtime, ["true"])
            except Skipped as reason:
                failures.append(str(reason))
            else:
                return sentry
    raise Skipped(f"runsc runs nothing here: {failures[-1]}")


@contextlib.asynccontextmanager
async def unpacked(image: Image) -> AsyncIterator[Path]:
    """Yield a folder with a copy of an image's root file system; it is removed afterwards. Raises `Skipped`."""
    program = shutil.which("debugfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Skipped("debugfs, which unpacks root file systems, is not installed (Debian: apt-get install e2fsprogs)")
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="emberbox-root-"))
    try:
        await run_process((program, "-R", f"rdump / {folder}", str(image.rootfs)), UNPACK_S)
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def run_process(argv: Sequence[str], timeout_s: float = RUN_S) -> tuple[float, bytes]:
    """Run a program of the host; returns milliseconds and its output. Raises `Skipped` when it fails or takes too long."""
    begun = time.perf_counter()
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={"PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}", "HOME": "/"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Skipped(f"{argv[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise Skipped(f"{argv[0]} was not done within {timeout_s:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    elapsed_ms = (time.perf_counter() - begun) * 1000
    if process.returncode != 0:
        said = (errors or output).decode("utf-8", "replace")
        raise Skipped(f"{argv[0]} ended with {process.returncode}: {one_line(said[-300:])}")
    return elapsed_ms, output
