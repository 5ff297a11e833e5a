"""Finding and ending VMM processes that an earlier process of ours left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import VmmTimeout
from emberbox.vmm.process.marks import marked, named
from emberbox.vmm.process.process import VmmProcess, all_pids, command_line, start_time
from emberbox.vmm.recorded import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from emberbox.vmm.process.marks import Mark

_log = logging.getLogger(__name__)

_ROUNDS = 20
_EXEC_S = 0.01


def find_machine(mark: Mark, pid: int, started: int, machine_id: str) -> VmmProcess | None:
    """Return and watch the VMM of `machine_id`; None when it is gone, or `pid` is another process."""
    return _held(pid, lambda: _is_recorded((mark,), pid, started, machine_id))


def _held(pid: int, is_ours: Callable[[], bool]) -> VmmProcess | None:
    """Hold on to a process, then look at it: in between, it cannot be exchanged for another."""
    try:
        process = VmmProcess(pid, None, wrapped=False)
    except ProcessLookupError:
        return None
    if is_ours():
        return process
    process.release()
    return None


async def kill_leftovers(marks: Collection[Mark], run_root: Path) -> list[int]:
    """End the VMMs recorded under `run_root`; returns their pids.

    Only for a `run_root` whose engine is gone. A process is ended only if pid, start time and mark
    are those of the record. Waits up to 20 s for each.

    Args:
        marks: The marks of all drivers.
        run_root: Folder of the machines' run folders.
    """
    ended = [pid for pid in sorted(set(_recorded(marks, run_root))) if await _end(marks, pid)]
    if ended:
        _log.warning(
            "ended %d VMMs of an earlier process",
            len(ended),
            extra={"action": "vmm.leftovers", "pids": ended},
        )
    return ended


async def end_marked(marks: Collection[Mark], machine_id: str, *, whole: bool = False) -> list[int]:
    """End all processes whose machine id starts with, or with `whole` is, `machine_id`; returns pids.

    A start that is killed midway may leave bubblewrap's child behind: it is bound to its parent's
    life only after a moment, and goes on, or waits for ever, when that has died by then. What a
    process started while it was being ended is found in the next round, and so is one that is just
    becoming another program: for that moment it has no command line.
    """
    ended: list[int] = []
    for _ in range(_ROUNDS):
        lines = {pid: command_line(pid) for pid in all_pids()}
        found = [
            pid for pid, words in lines.items() if named(marks, words, machine_id, whole=whole, wrapped=True)
        ]
        ended += [pid for pid in found if await _end(marks, pid)]
        if not found:
            if not any(_has_program(pid) for pid, words in lines.items() if not words):
                break
            await asyncio.sleep(_EXEC_S)
    return ended


def _has_program(pid: int) -> bool:
    """Tell whether a process has a program: one that showed no command line was in execve(2)."""
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except OSError:  # a thread of the kernel, a zombie, gone, or another user's
        return False
    return True


def _recorded(marks: Collection[Mark], run_root: Path) -> Iterator[int]:
    """Yield the pids of the VMMs that records below `run_root` tell of, and that still run."""
    for path in run_root.glob(f"*/{RECORD}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_text())
            pid = int(record["pid"])
            if _is_recorded(marks, pid, int(record["start_time"]), str(record["id"])):
                yield pid


def _is_recorded(marks: Collection[Mark], pid: int, started: int, machine_id: str) -> bool:
    return start_time(pid) == started and marked(marks, pid, machine_id, whole=True)


async def _end(marks: Collection[Mark], pid: int) -> bool:
    process = _held(pid, lambda: marked(marks, pid, wrapped=True))
    if process is None:
        return False
    try:
        with contextlib.suppress(VmmTimeout):
            await process.kill()
    finally:
        process.release()
    return True
