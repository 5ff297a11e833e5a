"""Removes folders in which unprivileged builds worked as other users."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError
from emberbox.images.tools.process import run_tool
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)
_REMOVE_S = 120.0


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
