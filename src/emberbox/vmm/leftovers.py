"""Finding and ending VMM processes that an earlier process of ours left behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import re
import signal
from pathlib import Path

from emberbox.vmm.process import VmmProcess, command_line, identify

_log = logging.getLogger(__name__)

_MARK = "guest=emberbox-"
_VMMS = ("qemu-system-", "firecracker")
_OURS = re.compile(r"[a-z0-9]+-[0-9]+")
"""Ids of machines; other users of Firecracker on the host commonly take names and UUIDs."""
_GONE_S = 10.0
_ROUNDS = 20


def marked(pid: int, machine_id: str = "", *, whole: bool = False) -> bool:
    """Return whether `pid` is a VMM of ours, for the machine whose id starts with (or, with `whole`, is) `machine_id`."""
    return _named(pid, machine_id, whole=whole, programs=_VMMS)


def belongs(pid: int, machine_id: str = "", *, whole: bool = False) -> bool:
    """Return whether `pid` is such a VMM, or what confines it or is about to become it."""
    return _named(pid, machine_id, whole=whole, programs=(*_VMMS, "bwrap", "setpriv", "jailer"))


def _named(pid: int, machine_id: str, *, whole: bool, programs: tuple[str, ...]) -> bool:
    words = command_line(pid)
    if not words or not Path(words[0]).name.startswith(programs):
        return False
    names = [name for pair in itertools.pairwise(words) if (name := _machine(*pair)) is not None]
    return any(name == machine_id if whole else name.startswith(machine_id) for name in names)


def _machine(option: str, value: str) -> str | None:
    """Return the machine that a pair of words names: QEMU's `-name guest=emberbox-ID`, Firecracker's `--id ID`."""
    if option == "-name" and value.startswith(_MARK):
        return value.removeprefix(_MARK)
    return value if option == "--id" and _OURS.fullmatch(value) else None


def find_machine(pid: int, start_time: int, machine_id: str) -> VmmProcess | None:
    """Return the VMM of the machine `machine_id`, watched from now on; None when it is gone, or `pid` is another process."""
    try:
        process = VmmProcess(pid, None, wrapped=False)
    except ProcessLookupError:
        return None
    # Looked at only now that the process is held on to, so that it cannot be exchanged for another in between.
    identity = identify(pid)
    if identity is None or identity.start_time != start_time or not marked(pid, machine_id, whole=True):
        process.release()
        return None
    return process


def find_leftovers(marker: str) -> list[int]:
    """Return the pids of the VMM processes of machines whose ids start with `marker`."""
    return [pid for pid in _all_pids() if marked(pid, marker)]


def _all_pids() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


async def kill_leftovers(run_root: Path, marker: str | None = None) -> list[int]:
    """End the VMMs that the records under `run_root` name, and all processes that carry `marker`; returns their pids.

    Only for a `run_root` whose engine is gone. A process is ended only if pid, start time and mark are those of the record.
    Waits up to 10 s.

    Args:
        run_root: Folder of the machines' run folders.
        marker: Start of the machines' ids, to find those that left no record; None to go by the records alone.
    """
    ended = [pid for pid in sorted(_all_recorded(run_root)) if await _end(pid)]
    if marker:
        ended += await end_marked(marker)
    if ended:
        _log.warning("ended %d VMMs of an earlier process", len(ended), extra={"action": "vmm.leftovers", "pids": ended})
    return ended


async def end_marked(machine_id: str, *, whole: bool = False) -> list[int]:
    """End all processes of the machines whose ids start with (or, with `whole`, are) `machine_id`; returns their pids.

    A start that is killed midway may leave bubblewrap's child behind: it is bound to its parent's life only after a moment,
    and goes on, or waits for ever, when that has died by then. What a process started while it was being ended is found in the
    next round.
    """
    ended: list[int] = []
    for _ in range(_ROUNDS):
        found = [pid for pid in _all_pids() if belongs(pid, machine_id, whole=whole)]
        if not found:
            break
        ended += [pid for pid in found if await _end(pid)]
    return ended


def _all_recorded(run_root: Path) -> set[int]:
    return {pid for path in run_root.glob("*/machine.json") if (pid := _recorded(path)) is not None}


def _recorded(path: Path) -> int | None:
    try:
        record = json.loads(path.read_text())
        pid, start_time, machine_id = int(record["pid"]), int(record["start_time"]), str(record["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    identity = identify(pid)
    return pid if identity is not None and identity.start_time == start_time and marked(pid, machine_id, whole=True) else None


async def _end(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        # Looked at again now that the descriptor holds on to the process.
        if not belongs(pid):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_S):
                await gone.wait()
        return True
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
