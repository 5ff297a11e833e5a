"""What is installed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.vmm.firecracker.install.release import parse_version

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Installed:
    """A release that is installed.

    Args:
        version: Such as `1.16.1`.
        firecracker: Its VMM.
        jailer: Its jailer.
    """

    version: str
    firecracker: Path
    jailer: Path


def installed(folder: Path) -> Installed | None:
    """Return the newest release below `folder` (`<data>/vmm/firecracker`); None where there is none.

    Looks, and runs nothing.
    """
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return None
    versions = sorted(
        (parts, name) for name in names if (parts := parse_version(name)) is not None and name[0] != "v"
    )
    return next((found for _, name in reversed(versions) if (found := find(folder, name)) is not None), None)


def find(folder: Path, version: str) -> Installed | None:
    """Return the release `version` below `folder`; None where it is not there whole.

    Looks, and runs nothing.
    """
    found = Installed(version, folder / version / "firecracker", folder / version / "jailer")
    return found if _is_program(found.firecracker) and _is_program(found.jailer) else None


def _is_program(path: Path) -> bool:
    """Tell whether `path` is an executable file that nobody but root and ourselves could have changed."""
    try:
        status = path.lstat()
    except OSError:
        return False
    ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return ours and stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IXUSR)
