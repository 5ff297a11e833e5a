"""Files that a program leaves in its output folder, `/work/output`.

What lies there is the guest's word and is checked: only files count, by names that stay below the
folder; links, devices and whatever else is passed over; how many files and bytes are read is
bounded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emberbox.errors import GuestRequestFailed
from emberbox.files.paths import readable, stays_below
from emberbox.model import MIB, FileEntry, OutputFile

if TYPE_CHECKING:
    from emberbox.model import Limits
    from emberbox.sandbox.files import SandboxFiles

OUTPUT_FOLDER = "output"
"""The folder, below the work folder."""
MAX_ENTRIES = 20_000
"""Most entries of the folder's tree that are looked at."""
MAX_FILES = 100
MAX_BYTES = 64 * MIB
READ_S = 120.0
"""How long the reading may take at most, in seconds."""
READ_GRACE_S = 30.0
"""And how much longer than the run's own limit."""
_MAX_NOTES = 10


@dataclass(slots=True)
class Outputs:
    """What was read of the output folder.

    Args:
        files: By name.
        notes: What was left out and why, for people.
    """

    files: list[OutputFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def reading_bound_s(limits: Limits) -> float:
    """Return how long reading what a run left may take, in seconds: it is bounded as the run itself is."""
    return READ_S if limits.timeout_s is None else min(READ_S, limits.timeout_s + READ_GRACE_S)


async def output_entries(sandbox: SandboxFiles) -> list[FileEntry]:
    """Return the files in the output folder and below it, by name; empty where the folder is gone.

    At most `MAX_ENTRIES` entries are looked at, folders counted. What a program put in the folder's
    place is read in the guest with the rights of the guest's user; a run that did so counts as one
    that left no files.

    Raises:
        GuestRequestFailed: The folder cannot be read.
    """
    try:
        entries = await sandbox.list_files(OUTPUT_FOLDER, recursive=True, max_entries=MAX_ENTRIES)
    except GuestRequestFailed as error:
        if error.reason in ("not_found", "not_a_directory"):
            return []
        raise
    return await asyncio.to_thread(_files, entries)


async def read_outputs(sandbox: SandboxFiles, within_s: float = READ_S) -> Outputs:
    """Read the output folder's files, in the order of their names, as far as the bounds go.

    What does not fit or cannot be read is left out with a note; so is what would take longer than
    `within_s`. A file that a process still writes to is taken as it was read.

    Raises:
        GuestError: The sandbox is lost.
    """
    outputs = Outputs()
    try:
        async with asyncio.timeout(within_s):
            await _read(sandbox, outputs)
    except TimeoutError:
        outputs.notes.append(f"the files took longer than {within_s:g} s to read; the rest was left out")
    return outputs


async def _read(sandbox: SandboxFiles, outputs: Outputs) -> None:
    try:
        entries = await output_entries(sandbox)
    except GuestRequestFailed as error:
        outputs.notes.append(f"the output folder cannot be read: {error.message}")
        return
    left, skipped = MAX_BYTES, 0
    for entry in entries:
        problem = f"{MAX_FILES} files are returned at most" if len(outputs.files) >= MAX_FILES else None
        if problem is None and entry.size > left:
            problem = f"{MAX_BYTES} bytes are returned at most"
        if problem is None:
            try:
                data = await sandbox.read_file(f"{OUTPUT_FOLDER}/{entry.name}", max_bytes=left)
            except GuestRequestFailed as error:
                problem = error.message
            else:
                left -= len(data)
                outputs.files.append(OutputFile(readable(entry.name), data))
        if problem is not None:
            skipped += 1
            if skipped <= _MAX_NOTES:
                outputs.notes.append(f"{readable(entry.name)[:200]} was left out: {problem}")
    if skipped > _MAX_NOTES:
        outputs.notes.append(f"{skipped - _MAX_NOTES} more files were left out")


def _files(entries: list[FileEntry]) -> list[FileEntry]:
    found = [entry for entry in entries if entry.type == "file" and stays_below(entry.name)]
    return sorted(found, key=lambda entry: entry.name)
