"""The whole of `emberbox run hello.py`, as typed in a shell."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import HELLO, BenchError, Unavailable, time_process

if TYPE_CHECKING:
    from emberbox.config import Settings

IMPORTS = """
import emberbox.cli.main
import emberbox.cli.run.run
import emberbox.sandbox
import emberbox.vmm.registry
"""


class ShellCommand:
    """From the start of the `emberbox` process to its end."""

    name = "command"
    label = "emberbox run hello.py, the whole process"
    note = "interpreter, imports, engine, clone, program, clean-up; no pool"

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, "EMBERBOX_DATA": str(settings.data)}
        self._folder: Path | None = None

    async def open(self) -> None:
        """Write the program and run it once."""
        self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="emberbox-bench-"))
        (self._folder / "hello.py").write_text(HELLO + "\n")
        try:
            await self.sample()
        except BenchError as error:
            raise Unavailable(str(error)) from error

    async def sample(self) -> float:
        """Run once, in milliseconds."""
        if self._folder is None:
            raise BenchError("not open")
        argv = [*command_line(), "run", str(self._folder / "hello.py")]
        return await time_process(argv, environment=self._environment, timeout_s=90)

    async def close(self) -> None:
        """Remove the program."""
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def command_line() -> list[str]:
    """Return what starts `emberbox`: the script beside this interpreter, else the module."""
    script = Path(sys.executable).with_name("emberbox")
    return [str(script)] if script.exists() else [sys.executable, "-m", "emberbox.cli.main"]


async def start_up_times(repeats: int) -> dict[str, float]:
    """Return the medians of the bare interpreter's start and of the imports, in milliseconds."""
    from emberbox.bench.statistics import percentile

    environment = dict(os.environ)
    bare, imports = [], []
    for _ in range(repeats):
        bare.append(await time_process([sys.executable, "-c", ""], environment=environment, expected=b""))
        imports.append(
            await time_process([sys.executable, "-c", IMPORTS], environment=environment, expected=None)
        )
    interpreter_ms = percentile(bare, 50)
    return {
        "interpreter_ms": interpreter_ms,
        "imports_ms": max(0.0, percentile(imports, 50) - interpreter_ms),
    }
