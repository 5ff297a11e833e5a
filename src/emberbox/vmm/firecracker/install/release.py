"""Firecracker's releases: which there are, what they are called, where they come from, and which are here."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput, RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RELEASES = "https://github.com/firecracker-microvm/firecracker/releases/download"
"""Where releases are published; `RELEASES_VARIABLE` names another place that holds the same files
under the same names."""

RELEASES_VARIABLE = "EMBERBOX_FIRECRACKER_RELEASES"
INSTALL = "emberbox setup --vmm firecracker"
"""The command that installs a release."""
DEFAULT_VERSION = "1.16.1"
LEAST_VERSION = (1, 16, 1)
"""1.16.0 leaves the vsock of restored machines silent."""

KNOWN_SHA256: Mapping[str, str] = {}
"""By the archive's name, hashes that were checked by hand. One that is known must fit, whatever the
release page says."""

_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})")
_ARCHIVE = re.compile(r"firecracker-v([0-9.]+)-\w+\.tgz")
_ARCHITECTURES = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True)
class Release:
    """One release for one architecture.

    Args:
        version: Such as `1.16.1`.
        architecture: As `uname -m` says it.
    """

    version: str
    architecture: str

    @property
    def archive(self) -> str:
        """Name of the file that holds it."""
        return f"firecracker-v{self.version}-{self.architecture}.tgz"

    def url(self, releases: str = RELEASES) -> str:
        """Return the archive's place below a release page; its hash is there too, as `.sha256.txt`."""
        return f"{releases.rstrip('/')}/v{self.version}/{self.archive}"

    def member(self, program: str) -> str:
        """Return the name inside the archive of `firecracker` or `jailer`."""
        return f"release-v{self.version}-{self.architecture}/{program}-v{self.version}-{self.architecture}"


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Return the parts of `1.16.1` or `v1.16.1`; None for all else."""
    found = _VERSION.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def version_in(name: str) -> str | None:
    """Return the version that an archive's name tells; None for a file of another name."""
    found = _ARCHIVE.fullmatch(name)
    return None if found is None else found[1]


def find_release(version: str, machine: str) -> Release:
    """Return the release `version` for this host.

    Args:
        version: Such as `1.16.1`, with or without a `v`.
        machine: What `uname -m` says.

    Raises:
        InvalidInput: No version, or one that is too old to be used.
        RequirementMissing: There is no Firecracker for this architecture.
    """
    parts = parse_version(version)
    if parts is None:
        raise InvalidInput(f"{version!r} is no version of Firecracker; write it as {DEFAULT_VERSION}")
    if parts < LEAST_VERSION:
        least = ".".join(str(part) for part in LEAST_VERSION)
        raise InvalidInput(f"Firecracker {version} is too old: restored machines work from {least} on")
    if machine not in _ARCHITECTURES:
        raise RequirementMissing(
            f"there is no Firecracker for {machine}, only for {' and '.join(_ARCHITECTURES)}; the driver "
            "qemu works here"
        )
    return Release(".".join(str(part) for part in parts), machine)


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
