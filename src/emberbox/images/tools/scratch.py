"""Lends folders where an unprivileged build's users may write, and removes what they left there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError
from emberbox.files.locks import is_locked, take_lock
from emberbox.images.tools.process import run_tool
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = logging.getLogger(__name__)

ELSEWHERE = Path("/var/tmp")  # noqa: S108 (each folder in it is made with a name that nobody can guess)
_PREFIX = "emberbox-build-"
_REMOVE_S = 120.0
_YOUNG_S = 60.0
"""A folder that is younger may not be locked yet."""


@contextlib.asynccontextmanager
async def scratch_folder(folder: Path, *, as_root: bool, elsewhere: Path = ELSEWHERE) -> AsyncIterator[Path]:
    """Lend a folder in which all users may write; its end removes other users' files too.

    A build without root works as users of its own, for whom a home that is closed to others
    (Debian's default) is closed, too. There, the folder is not made in `folder` but in `elsewhere`.

    Args:
        folder: Where it should be.
        as_root: Whether the build's users are the host's own, and root may go everywhere.
        elsewhere: A folder of the disk that is open to all.

    Raises `OSError`.
    """
    if as_root or open_to_all(folder):
        path = folder / "scratch"
        path.mkdir()
    else:
        await _remove_abandoned(elsewhere)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=elsewhere))
    # The kernel lets go of the lock with this process: then others know that the folder is nobody's.
    with take_lock(path, what="clearing up after builds", make=False):
        try:
            path.chmod(0o1777)
            yield path
        finally:
            await asyncio.shield(remove_tree(path))


def open_to_all(folder: Path) -> bool:
    """Tell whether every user of the host gets through to `folder`."""
    resolved = folder.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (resolved, *resolved.parents))


async def _remove_abandoned(elsewhere: Path) -> None:
    """Remove what builds of this user left that were killed."""
    for path in elsewhere.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if ours and time.time() - status.st_mtime > _YOUNG_S and not is_locked(path):
                _log.info(
                    "removing %s, left by a killed build", path, extra={"action": "images.remove_dead_build"}
                )
                await remove_tree(path)


async def remove_tree(folder: Path) -> None:
    """Remove a build's folder, also what a killed unprivileged build left as another user."""
    if await asyncio.to_thread(_remove, folder):
        return
    if os.geteuid() != 0:
        with contextlib.suppress(EmberboxError):
            argv = [find_program("mmdebstrap"), "--unshare-helper", "rm", "-rf", str(folder)]
            await run_tool(argv, what="remove a build's folder", timeout_s=_REMOVE_S)
    if not await asyncio.to_thread(_remove, folder):
        _log.warning("cannot remove %s", folder, extra={"action": "images.remove_failed"})


def _remove(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
