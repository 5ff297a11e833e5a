"""Ends what the machines of a dead engine left: processes and control groups. Their folders are `RunFolder`'s."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emberbox.vmm.cgroup import Cgroups
from emberbox.vmm.leftovers import kill_leftovers

if TYPE_CHECKING:
    from pathlib import Path


async def end_leftovers(folder: Path) -> list[int]:
    """End every machine that has a folder in `folder`, whose engine must be gone; returns the pids of the VMMs that still ran."""
    ended = await kill_leftovers(folder)
    groups = Cgroups()
    for prefix in sorted({name.rpartition("-")[0] for name in os.listdir(folder) if "-" in name}):
        await groups.sweep(f"{prefix}-")
    return ended
