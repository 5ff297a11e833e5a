"""Installs a release of Firecracker and its jailer below the data folder, whole or not at all.

It lies at `<folder>/<version>/{firecracker,jailer}`. What is being installed lies beside it under a
name that is no version, and is renamed once both programs were checked and run; what an interrupted
installation left is removed by the next one.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from emberbox.errors import NoSpace, RequirementMissing
from emberbox.files.atomic import sync
from emberbox.files.disk import is_full
from emberbox.files.locks import wait_for_lock
from emberbox.vmm.firecracker.install.release import (
    DEFAULT_VERSION,
    RELEASES,
    RELEASES_VARIABLE,
    Installed,
    find,
    find_release,
    version_in,
)
from emberbox.vmm.firecracker.install.sources import copy_release, fetch_release
from emberbox.vmm.firecracker.install.trial import try_program
from emberbox.vmm.firecracker.install.unpack import PROGRAMS, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.install.release import Release
    from emberbox.vmm.firecracker.install.sources import Source, Steps
    from emberbox.vmm.kind import InstallWish

_log = logging.getLogger(__name__)

_LOCK = ".lock"
_UNFINISHED = ".new-"
_OTHERS_S = 1200.0


async def install_wished(folder: Path, wish: InstallWish, step: Steps) -> list[str]:
    """Install what `wish` says below `folder`; returns what to tell people. Raises as `install` does."""
    named = None if wish.file is None else version_in(wish.file.name)
    release = find_release(wish.version or named or DEFAULT_VERSION, os.uname().machine)
    if wish.file is not None:
        source: Source = functools.partial(copy_release, file=wish.file, sha256=wish.sha256)
    else:
        releases = wish.environment.get(RELEASES_VARIABLE) or RELEASES
        source = functools.partial(fetch_release, releases=releases)
    found = await install(folder, release, source, step)
    place = found.firecracker.parent
    told = [f"Firecracker {found.version} is at {place}. `emberbox doctor` tells whether it can be used here"]
    if os.geteuid() != 0:
        why = "Firecracker needs root, and root does not run it from there"
        told.append(f"it is yours, not root's: {why}. Use sudo emberbox setup")
    return told


async def install(
    folder: Path, release: Release, source: Source, step: Steps = lambda _name, _share: None
) -> Installed:
    """Install `release` below `folder`, which is made.

    What is there and works is kept, so repeating it is quick.
    Safe to cancel, to kill and to run twice at once: the second waits for the first.

    Args:
        folder: `<data>/vmm/firecracker`.
        release: What to install.
        source: Where its archive comes from.
        step: Told what is being done, and the share of it that is; None where that is not known.

    Raises:
        RequirementMissing: It could not be fetched, is not what was published, or does not run
            here; the message says what to do.
        NoSpace: The disk is full.
        InvalidInput: The file or the hash that was passed cannot be used.
        OSError: The folder cannot be written.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    waiting = functools.partial(step, "waiting for another installation", None)
    lock = await wait_for_lock(
        folder / _LOCK,
        what="installing Firecracker",
        timeout_s=_OTHERS_S,
        waiting=waiting,
        busy=RequirementMissing,
    )
    with lock:
        await asyncio.to_thread(_remove_unfinished, folder)
        if (present := find(folder, release.version)) is not None and await asyncio.to_thread(
            _works, present
        ):
            return present
        scratch = folder / f"{_UNFINISHED}{secrets.token_hex(6)}"
        scratch.mkdir(mode=0o700)
        try:
            return await _install(folder, scratch, release, source, step)
        except OSError as error:
            if is_full(error):
                raise NoSpace(
                    f"no space left for {folder}; free some, or set EMBERBOX_DATA to a folder on another "
                    "disk. Nothing was installed"
                ) from error
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


async def _install(folder: Path, scratch: Path, release: Release, source: Source, step: Steps) -> Installed:
    archive = scratch / release.archive
    await source(release, archive, step)
    step("unpacking", None)
    fresh = scratch / "unpacked"
    fresh.mkdir(mode=0o755)
    await asyncio.to_thread(unpack, archive, release, fresh)
    step("trying", None)
    for program in PROGRAMS:
        await asyncio.to_thread(try_program, fresh / program, release.version)
    await asyncio.to_thread(_put_in_place, fresh, folder / release.version, scratch)
    found = find(folder, release.version)
    if found is None:
        raise RequirementMissing(
            f"{folder / release.version} was changed while it was being installed; try again"
        )
    _log.info(
        "Firecracker %s is installed",
        release.version,
        extra={"action": "vmm.firecracker_installed", "version": release.version},
    )
    return found


def _remove_unfinished(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name.startswith(_UNFINISHED):
            shutil.rmtree(entry, ignore_errors=True)


def _put_in_place(fresh: Path, target: Path, scratch: Path) -> None:
    """Rename both programs in one step; a full folder in the way is moved away before."""
    fresh.chmod(0o755)
    if target.exists() or target.is_symlink():
        target.rename(scratch / "replaced")
    fresh.rename(target)
    sync(target.parent)


def _works(found: Installed) -> bool:
    try:
        for program in (found.firecracker, found.jailer):
            try_program(program, found.version)
    except RequirementMissing as error:
        _log.warning("what is installed is replaced: %s", error, extra={"action": "vmm.firecracker_damaged"})
        return False
    return True
