"""What machines leave on a host: looked at before and after a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

from emberbox.vmm.process.cgroup import Cgroups
from tests.e2e import vmm_guests
from tests.e2e.conftest import child_processes, run_entries
from tests.patience import PATIENCE_S

MARK = f"{vmm_guests.MARK}-"
"""Start of the ids of this run's machines, and of no other run's."""


def processes(word: str = MARK) -> set[int]:
    """Return all processes whose command line holds `word`, whatever program they run."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and word.encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def standbys(data: Path) -> set[int]:
    """Return the pids of the VMMs that wait for their guest, by the records in a data folder."""
    found = set()
    for path in (data / "run").glob("*/*/machine.json"):
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if record.get("standby"):
            found.add(int(record["pid"]))
    return found


def control_groups(prefix: str = MARK) -> set[str]:
    """Return the control groups of the machines whose ids start with `prefix`."""
    groups = Cgroups()
    return set(groups.names(prefix)) if groups.prepare() else set()


def mounts() -> set[str]:
    """Return the mount points of machines' folders that leaked into this process's namespace."""
    points = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return {point for point in points if MARK in point or "/jail/" in point}


def look(data: Path | None = None) -> dict[str, set[object]]:
    """Return all that is here of the tests' machines; with a data folder, of those of its engines as well."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    folders = set() if data is None else run_entries(data)
    names = {name.rpartition("/")[2] for name in folders if "-" in name}
    return {
        "processes": {*processes(), *child_processes()},
        "control groups": {*control_groups(), *(group for name in names for group in control_groups(name))},
        "folders": {*folders},
        "mounts": {*mounts()},
        "descriptors": {*range(descriptors)},  # only a greater number leaves something in a difference
    }


async def clear() -> None:
    """End what a failed test left of its machines."""
    for pid in processes():
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    await Cgroups().sweep(MARK)


async def settled(
    before: dict[str, set[object]], data: Path | None = None, within_s: float = PATIENCE_S
) -> dict[str, set[object]]:
    """Wait until no more is here than `before`; returns what still is at the end."""
    for _ in range(max(1, int(within_s / 0.05))):
        now = look(data)
        left = {name: now[name] - before[name] for name in now if now[name] - before[name]}
        if not left:
            return {}
        await asyncio.sleep(0.05)
    return left
