"""Where things lie in the store's folder, and the folders that builds work in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError, NoSpace
from emberbox.images.locks import is_locked, locked, try_lock
from emberbox.images.process import run_tool
from emberbox.images.requirements import find_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_log = logging.getLogger(__name__)
_SHORT_S = 30.0
_REMOVE_S = 120.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The store's folders below `root`."""

    root: Path

    @property
    def objects(self) -> Path:
        """Files under their digest."""
        return self.root / "objects"

    @property
    def parts(self) -> Path:
        """Records of parts: `KIND/KEY.json`."""
        return self.root / "parts"

    @property
    def images(self) -> Path:
        """Records of images: `RUNTIME/KEY.json`."""
        return self.root / "images"

    @property
    def building(self) -> Path:
        """Folders of builds under way."""
        return self.root / "building"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.root / "locks"

    def create(self) -> None:
        """Make the folders that are missing; readable to all, since a VMM runs as another user."""
        for folder in (self.root, self.objects, self.parts, self.images, self.building, self.locks):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o755)

    def require_space(self, needed: int) -> None:
        """Raise `NoSpace` where fewer than `needed` bytes are free."""
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise NoSpace(
                f"building an image needs {needed // 1024**2} MiB in {self.root}, and {free // 1024**2} MiB are free. "
                "Free some space, or set another data folder."
            )

    @contextlib.asynccontextmanager
    async def build_folder(self) -> AsyncIterator[Path]:
        """Lend a fresh folder to a build; it is removed at the end. Others know by its lock that its builder lives."""
        folder = self.building / secrets.token_hex(8)
        async with locked(self.locks / "building.lock", what="the folder of builds", timeout_s=_SHORT_S):
            folder.mkdir()
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try_lock(descriptor)
        try:
            yield folder
        finally:
            try:
                await asyncio.shield(remove_tree(folder))
            finally:
                os.close(descriptor)

    async def remove_dead_builds(self) -> None:
        """Remove the folders of builders that were killed."""
        async with locked(self.locks / "building.lock", what="the folder of builds", timeout_s=_SHORT_S):
            dead = [folder for folder in self.building.iterdir() if not is_locked(folder)]
            for folder in dead:
                _log.info("removing %s, left by a killed build", folder, extra={"action": "images.remove_dead_build"})
                await remove_tree(folder)


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
