"""Ends what the machines of a dead engine left: processes and control groups.

Their folders are `RunFolder`'s.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.process.leftovers import end_marked, kill_leftovers
from emberbox.vmm.recorded import RECORD
from emberbox.vmm.registry import marks

if TYPE_CHECKING:
    from pathlib import Path


STARTING_S = 1.0
"""How long a machine that was just being started may take to show itself."""


async def end_leftovers(folder: Path) -> list[int]:
    """End every machine that has a folder in `folder`, and return the pids of what still ran.

    The engine of that folder must be gone. Takes a second longer where the engine was killed while it
    started a machine.
    """
    ended = await kill_leftovers(marks(), folder)
    groups = Cgroups()
    names = [name for name in os.listdir(folder) if "-" in name]
    prefixes = sorted({f"{name.rpartition('-')[0]}-" for name in names})
    for prefix in prefixes:
        ended += await end_marked(marks(), prefix)
    if any(not (folder / name / RECORD).exists() for name in names):
        # A process that was forked off, and let go of the engine's lock, is not recognized until it
        # runs its own program.
        ended += await _end_late(prefixes)
    for prefix in prefixes:
        await groups.sweep(prefix)
    return ended


async def _end_late(prefixes: list[str]) -> list[int]:
    ended: list[int] = []
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        await asyncio.sleep(STARTING_S / 10)
        for prefix in prefixes:
            ended += await end_marked(marks(), prefix)
    return ended
