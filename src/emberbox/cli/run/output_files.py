"""Files of a program's output folder, written to a folder of the host."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.cli.failures import say
from emberbox.errors import GuestError, SandboxClosed, VmmError
from emberbox.files.paths import stays_below

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emberbox.model import OutputFile, RunResult
    from emberbox.sandbox import Sandbox


async def fetch(sandbox: Sandbox, result: RunResult, folder: str) -> RunResult:
    """Write what the run left in its output folder below `folder`, replacing what is there.

    Returns the result with the files. What cannot be fetched or written is told on standard error:
    the run's own result stands.
    """
    if not result.left_files:
        return result
    try:
        outputs = await sandbox.outputs()
    except (GuestError, VmmError, SandboxClosed) as error:
        say(f"the files that it left are lost: {error.message}")
        return result
    for note in [*outputs.notes, *await asyncio.to_thread(write_files, Path(folder), outputs.files)]:
        say(note)
    return replace(result, files=tuple(outputs.files), file_notes=tuple(outputs.notes))


def write_files(folder: Path, files: Iterable[OutputFile]) -> list[str]:
    """Write files below a folder; returns what could not be written and why.

    Links below the folder are not followed.
    """
    problems = []
    for file in files:
        try:
            _write(folder, file)
        except OSError as error:
            problems.append(f"cannot write {file.name}: {error.strerror or error}")
    return problems


def _write(folder: Path, file: OutputFile) -> None:
    if not stays_below(file.name):
        raise OSError("its name leads out of the folder")
    target, parts = folder, file.name.split("/")
    for part in parts[:-1]:
        target /= part
        if target.is_symlink():
            raise OSError(f"{target} is a link")
        target.mkdir(exist_ok=True)
    target /= parts[-1]
    if target.is_symlink():
        target.unlink()
    target.write_bytes(file.data)
