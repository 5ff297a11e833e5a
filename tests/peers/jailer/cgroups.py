"""The control group of one jail, made as the jailer makes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.jailer.arguments import JailerError

if TYPE_CHECKING:
    from tests.peers.jailer.arguments import Orders

_MOUNTS = Path("/proc/mounts")


def enter(orders: Orders) -> None:
    """Make the groups, set all values, then move this process in. Raises `JailerError`."""
    try:
        if orders.cgroup_version == 2:
            _enter_unified(orders)
        else:
            _enter_split(orders)
    except OSError as error:
        raise JailerError(f"Failed to write to {error.filename}: {error.strerror}") from error


def _enter_split(orders: Orders) -> None:
    folders = []
    for file, value in orders.cgroups:
        controller = file.split(".", maxsplit=1)[0]
        mount = _mount("cgroup", controller)
        if mount is None:
            raise JailerError(f"Controller {controller} is unavailable")
        folder = mount / orders.parent_cgroup / orders.id
        folder.mkdir(parents=True, exist_ok=True)
        _inherit(folder, file, len(orders.parent_cgroup.parts))
        _write(folder / file, value)
        folders.append(folder)
    for folder in folders:
        _write(folder / "tasks", str(os.getpid()))


def _inherit(folder: Path, file: str, depth: int) -> None:
    """Give `file` the value that its parent has: an empty cpuset takes no process."""
    above = folder.parent / file
    if not _first_line(above) and depth > 0:
        _inherit(folder.parent, file, depth - 1)
    line = _first_line(above)
    if not line:
        raise JailerError(f"Failed to inherit cgroups configurations from file {file} in path {folder}")
    _write(folder / file, line)


def _enter_unified(orders: Orders) -> None:
    mount = _mount("cgroup2", None)
    if mount is None:
        raise JailerError("Hierarchy not found: No hierarchy found for this cgroup version.")
    parent = mount / orders.parent_cgroup
    if not orders.cgroups:
        # Without values there is no group for the jail; it then joins the parent that was named.
        if orders.parent_given and parent.is_dir():
            _write(parent / "cgroup.procs", str(os.getpid()))
        return
    folder = parent / orders.id
    offered = (mount / "cgroup.controllers").read_text().split()
    for file, value in orders.cgroups:
        controller = file.split(".", maxsplit=1)[0]
        if controller not in offered:
            raise JailerError(f"Controller {controller} is unavailable")
        folder.mkdir(parents=True, exist_ok=True)
        for level in (mount, *(mount / part for part in reversed(orders.parent_cgroup.parents[:-1])), parent):
            _write(level / "cgroup.subtree_control", f"+{controller}")
        _write(folder / file, value)
    _write(folder / "cgroup.procs", str(os.getpid()))


def _mount(kind: str, controller: str | None) -> Path | None:
    for line in _MOUNTS.read_text().splitlines():
        _, folder, found, options, *_ = line.split(" ")
        if found == kind and (controller is None or controller in options.split(",")):
            return Path(folder)
    return None


def _first_line(file: Path) -> str:
    return file.read_text().split("\n", maxsplit=1)[0]


def _write(file: Path, value: str) -> None:
    # Never O_CREAT: a controller's file is there or it is not.
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{value}\n".encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        os.close(descriptor)
