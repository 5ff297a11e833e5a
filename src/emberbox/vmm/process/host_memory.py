"""How much memory this process, and VMs that it starts, may use: a container has less than its host shows.

Sources: the kernel's admin-guide/cgroup-v2 and admin-guide/cgroup-v1/memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from emberbox.files.paths import text_of
from emberbox.model import MIB

# For each version of the interface: the folder, and the files of bound and use, and the line of
# what could be given back.
_VERSIONS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def host_memory_mib() -> int:
    """Return how much memory this host has, as far as control groups let VMs use it, in MiB."""
    total_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    return memory_within_bounds(total_mib, total_mib, as_root=os.geteuid() == 0)[0]


def memory_within_bounds(
    total_mib: int,
    available_mib: int,
    *,
    as_root: bool,
    root: Path = Path("/sys/fs/cgroup"),
    groups: Path = Path("/proc/self/cgroup"),
) -> tuple[int, int]:
    """Return memory, all and available, in MiB, as far as control groups let it be used.

    Args:
        total_mib: What the host has.
        available_mib: What of it is free or can be made so.
        as_root: Whether we are root: then VMMs get groups of their own, which this process's own
            does not bound.
        root: Where the cgroup file systems are mounted.
        groups: The kernel's list of this process's groups.
    """
    for name, most, used, reclaimable in _VERSIONS:
        for folder in _folders(root / name, [] if as_root else _own(groups, name)):
            bound = _number(folder / most)
            if bound is not None and bound < total_mib * MIB:
                free = bound - (_number(folder / used) or 0) + _stat(folder / "memory.stat", reclaimable)
                total_mib, available_mib = bound // MIB, max(0, min(available_mib, free // MIB))
    return total_mib, available_mib


def _folders(mount: Path, own: list[str]) -> list[Path]:
    """Return the folders of a group and of all above it, the root of what we see first."""
    return [mount.joinpath(*own[:depth]) for depth in range(len(own) + 1)]


def _own(groups: Path, controller: str) -> list[str]:
    lines = [line.split(":", 2) for line in text_of(groups).splitlines()]
    path = next((path for _, controllers, path in lines if controller in controllers.split(",")), "/")
    return [] if ".." in path else [part for part in path.split("/") if part]


def _number(file: Path) -> int | None:
    text = text_of(file).strip()
    return int(text) if text.isdecimal() else None


def _stat(file: Path, name: str) -> int:
    try:
        pairs = dict(line.split() for line in text_of(file).splitlines())
        return int(pairs.get(name, "0"))
    except ValueError:
        return 0
