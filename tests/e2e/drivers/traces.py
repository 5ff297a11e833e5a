"""What machines leave on a host: looked at before and after a test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from emberbox.vmm import Cgroups
from tests.e2e import vmm_guests

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


def control_groups(prefix: str = MARK) -> set[str]:
    """Return the control groups of the machines whose ids start with `prefix`."""
    groups = Cgroups()
    return set(groups.names(prefix)) if groups.prepare() else set()


def mounts() -> set[str]:
    """Return the mount points of this process's namespace: of everybody's, were a machine's to leak."""
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def look() -> dict[str, set[object]]:
    """Return all that is here of the tests' machines."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {
        "processes": set(processes()),
        "control groups": set(control_groups()),
        "mounts": set(mounts()),
        "descriptors": set(range(descriptors)),  # only a greater number leaves something in a difference
    }


async def clear() -> None:
    """End what a failed test left of its machines."""
    for pid in processes():
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    await Cgroups().sweep(MARK)


async def settled(before: dict[str, set[object]], within_s: float = 3.0) -> dict[str, set[object]]:
    """Wait until no more is here than `before`; returns what still is at the end."""
    for _ in range(int(within_s / 0.05)):
        now = look()
        left = {name: now[name] - before[name] for name in now if now[name] - before[name]}
        if not left:
            return {}
        await asyncio.sleep(0.05)
    return left
