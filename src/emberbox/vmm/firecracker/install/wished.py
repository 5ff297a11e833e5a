"""Installs the release that people ask for, from where they say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emberbox.vmm.firecracker.install.installation import install
from emberbox.vmm.firecracker.install.release import (
    DEFAULT_VERSION,
    RELEASES,
    RELEASES_VARIABLE,
    find_release,
    version_in,
)
from emberbox.vmm.firecracker.install.sources import PublishedRelease, ReleaseFile

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.install.sources import Source, Steps
    from emberbox.vmm.kind import InstallWish


async def install_wished(folder: Path, wish: InstallWish, step: Steps) -> list[str]:
    """Install what `wish` says below `folder`; returns what to tell people. Raises as `install` does."""
    named = None if wish.file is None else version_in(wish.file.name)
    release = find_release(wish.version or named or DEFAULT_VERSION, os.uname().machine)
    found = await install(folder, release, _source(wish), step)
    place = found.firecracker.parent
    told = [f"Firecracker {found.version} is at {place}. `emberbox doctor` tells whether it can be used here"]
    if os.geteuid() != 0:
        why = "Firecracker needs root, and root does not run it from there"
        told.append(f"it is yours, not root's: {why}. Use sudo emberbox setup")
    return told


def _source(wish: InstallWish) -> Source:
    if wish.file is not None:
        return ReleaseFile(wish.file, wish.sha256)
    return PublishedRelease(wish.environment.get(RELEASES_VARIABLE) or RELEASES)
