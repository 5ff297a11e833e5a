"""A control group for each VMM: bounds for its memory, its threads and its share of the CPUs.

Version 2 and version 1 of the interface are served (the kernel's admin-guide/cgroup-v2 and
cgroup-v1). Where neither can be had, the VMM runs without, and `Cgroups.reason` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
PARENT = "emberbox"
_CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD_US = 100_000
_WEIGHTS = {"cpu.weight": (100, 1, 10_000), "cpu.shares": (1024, 2, 262_144)}
"""Files that hold a group's share of busy processors, with version 2 and 1: what it begins with, the
least and the most it takes."""
_HIERARCHY = "memory.use_hierarchy"
"""With version 1, older kernels bound a group's children only where this is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Bounds of one VMM, or of all together.

    Args:
        memory_bytes: All that is charged to it: guest memory that it touched, its own, page cache
            it brought in.
        pids: Processes and threads.
        cpus: CPUs' worth of time, such as 1.5; None for no bound.
        weight: How much of a busy processor it gets beside a group of weight 1; None leaves that to
            the kernel.
    """

    memory_bytes: int
    pids: int
    cpus: float | None = None
    weight: float | None = None


class Cgroup:
    """The groups of one VMM: one folder with version 2, one for each controller with version 1.

    Args:
        folders: Where they are.
        weight: The weight that it was made with.
    """

    def __init__(self, folders: tuple[Path, ...], weight: float = 1.0) -> None:
        self.folders = folders
        self._weight = weight

    def add(self, pid: int) -> None:
        """Move the process `pid` with all its threads into the group. Raises `OSError`."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def weigh(self, times: float) -> None:
        """Give the group `times` as much of a busy processor as it was made with; it begins with 1.

        What the host has no bound or number for is the nearest that it has. Where that cannot be
        set, nothing changes.
        """
        for folder in self.folders:
            for name in _WEIGHTS:
                with contextlib.suppress(OSError):
                    if (folder / name).exists():
                        (folder / name).write_text(_weight(name, self._weight * times))

    def reached_bound(self) -> bool:
        """Return whether memory was wanted beyond the group's own bound, and the kernel found none to free.

        False where that cannot be told, as of a group that is removed. Version 1 counts as well what was
        freed in time.
        """
        for folder in self.folders:
            with contextlib.suppress(OSError, ValueError):
                return _count(folder / "memory.events", "oom") > 0
            with contextlib.suppress(OSError, ValueError):
                return int((folder / "memory.failcnt").read_text()) > 0
        return False

    async def remove(self) -> None:
        """Remove the group; its processes must have ended. Repeating is harmless.

        What cannot be removed is logged.
        """
        for folder in self.folders:
            # The kernel lets go of a group a moment after its last process.
            for attempt in range(12):
                if _remove(folder):
                    break
                await asyncio.sleep(0.001 * 2**attempt)
            else:
                _log.warning(
                    "control group %s cannot be removed",
                    folder,
                    extra={"action": "vmm.cgroup_left", "path": str(folder)},
                )


class Cgroups:
    """Where this host lets us make groups.

    Args:
        root: Where the cgroup file systems are mounted.
        most: Bounds of all VMMs of this host together, whatever engine runs them; None leaves those
            that there are.
    """

    def __init__(self, root: Path = ROOT, most: CgroupLimits | None = None) -> None:
        self._root = root
        self._most = most
        self.unified = (root / "cgroup.controllers").exists()
        self.parents: tuple[Path, ...] = ()
        self.reason = "not looked for yet"

    def prepare(self) -> bool:
        """Make the parent groups, once; False, with `reason` set, where that is not possible."""
        if self.parents:
            return True
        try:
            parents = self._unified() if self.unified else self._split()
            for parent in parents:
                if not os.access(parent, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))
            self.parents = parents
            self._bound_parents()
        except OSError as error:
            self.reason = (
                f"no control groups for VMMs: {error.strerror or error} ({error.filename or self._root})"
            )
            return False
        self.reason = f"version {2 if self.unified else 1}: {', '.join(str(p) for p in self.parents)}"
        return True

    def _bound_parents(self) -> None:
        """Bound all VMMs together. Where the kernel refuses, as below what they use now, that is logged."""
        if self._most is None:
            return
        for file, value in self._values(self.parents, self._most):
            hierarchy = file.with_name(_HIERARCHY)
            try:
                if hierarchy.exists() and hierarchy.read_text().strip() == "0":
                    hierarchy.write_text("1")
                file.write_text(value)
            except OSError as error:
                _log.warning(
                    "all VMMs together are not bounded by %s: %s",
                    file.name,
                    error.strerror or error,
                    extra={"action": "vmm.cgroup_unbounded", "path": str(file)},
                )

    def create(self, name: str, limits: CgroupLimits) -> Cgroup:
        """Make the group `name` with its bounds. Raises `OSError`, with nothing left behind."""
        weight = 1.0 if limits.weight is None else limits.weight
        group = Cgroup(tuple(parent / name for parent in self.parents), weight)
        try:
            for folder in group.folders:
                folder.mkdir(exist_ok=True)
            for file, value in self._values(group.folders, limits):
                file.write_text(value)
        except BaseException:
            for folder in group.folders:
                _remove(folder)
            raise
        return group

    def find(self, name: str) -> Cgroup:
        """Return the group `name` as it is on disk; it may have no folder at all."""
        return Cgroup(tuple(parent / name for parent in self.parents if (parent / name).is_dir()))

    def occupied(self, name: str) -> bool:
        """Tell whether a process is in the group `name`; False where there is no such group."""
        for folder in self.find(name).folders:
            with contextlib.suppress(FileNotFoundError):
                if (folder / "cgroup.procs").read_text().strip():
                    return True
        return False

    def names(self, prefix: str) -> list[str]:
        """Return the names of the groups that start with `prefix`, live or left over."""
        found = {
            entry.name
            for parent in self.parents
            for entry in parent.iterdir()
            if entry.is_dir() and entry.name.startswith(prefix)
        }
        return sorted(found)

    async def sweep(self, prefix: str) -> list[str]:
        """End the processes of groups with the name `prefix`, remove the groups, and return their names.

        For what an earlier engine left: `prefix` must not match a machine that lives and is wanted.
        """
        if not self.prepare():
            return []
        names = self.names(prefix)
        for name in names:
            group = self.find(name)
            _kill_all(group)
            await group.remove()
        return names

    def _unified(self) -> tuple[Path, ...]:
        parent = self._root / PARENT
        parent.mkdir(exist_ok=True)
        for level in (self._root, parent):
            offered = (level / "cgroup.controllers").read_text().split()
            missing = [c for c in _CONTROLLERS if c not in offered]
            if missing:
                raise OSError(errno.ENOTSUP, f"controller {missing[0]} is not to be had", str(level))
            (level / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in _CONTROLLERS))
        return (parent,)

    def _split(self) -> tuple[Path, ...]:
        parents = []
        for controller in _CONTROLLERS:
            parent = self._root / controller / PARENT
            parent.mkdir(exist_ok=True)
            parents.append(parent)
        return tuple(parents)

    def assignments(self, limits: CgroupLimits) -> list[tuple[str, str]]:
        """Return the files of a group that bound it, by name, and what is written to each."""
        memory = "memory.max" if self.unified else "memory.limit_in_bytes"
        bounds = [(memory, str(limits.memory_bytes)), ("pids.max", str(limits.pids))]
        if limits.cpus is not None:
            quota = max(1000, int(limits.cpus * _PERIOD_US))
            bounds.append(
                ("cpu.max", f"{quota} {_PERIOD_US}") if self.unified else ("cpu.cfs_quota_us", str(quota))
            )
        if limits.weight is not None:
            name = "cpu.weight" if self.unified else "cpu.shares"
            bounds.append((name, _weight(name, limits.weight)))
        return bounds

    def _values(self, folders: tuple[Path, ...], limits: CgroupLimits) -> list[tuple[Path, str]]:
        by_controller = dict(zip(_CONTROLLERS, folders * (3 if self.unified else 1), strict=True))
        return [
            (by_controller[name.partition(".")[0]] / name, value) for name, value in self.assignments(limits)
        ]


def _weight(name: str, weight: float) -> str:
    usual, least, most = _WEIGHTS[name]
    return str(min(most, max(least, round(usual * weight))))


def _count(file: Path, name: str) -> int:
    """Return one of a file's counters, which stand each on a line. Raises `OSError` or `ValueError`."""
    counters = dict(line.split() for line in file.read_text("ascii").splitlines())
    return int(counters.get(name, ""))


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _kill_all(group: Cgroup) -> None:
    for folder in group.folders:
        with contextlib.suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
