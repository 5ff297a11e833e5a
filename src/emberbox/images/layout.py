"""Where things lie in the store's folder, and the folders that builds work in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from typing import TYPE_CHECKING

from emberbox.errors import NoSpace
from emberbox.files.atomic import remove_partial
from emberbox.files.locks import Lock, is_locked, take_lock, wait_for_lock
from emberbox.images.tools.scratch import remove_tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_log = logging.getLogger(__name__)
_BUILDS = "the folder of builds"
_SHORT_S = 30.0


class Layout:
    """The store's folders below `root`.

    Attributes:
        objects: Files under their digest.
        parts: Records of parts: `KIND/KEY.json`.
        images: Records of images: `RUNTIME/KEY.json`.
        building: Folders of builds under way.
        locks: Lock files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.parts = root / "parts"
        self.images = root / "images"
        self.building = root / "building"
        self.locks = root / "locks"

    def lease_file(self, key: str) -> Path:
        """Return the lock that is held while an image is in use."""
        return self.locks / f"image-{key}.lock"

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.root, self.objects, self.parts, self.images, self.building, self.locks):
            if not folder.is_dir():
                make_readable(folder)

    def require_space(self, needed: int) -> None:
        """Raise `NoSpace` where fewer than `needed` bytes are free."""
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise NoSpace(
                f"building an image needs {needed // 1024**2} MiB in the data folder, and "
                f"{free // 1024**2} MiB are free. Free some space, or set another data folder.",
                detail=str(self.root),
            )

    @contextlib.asynccontextmanager
    async def build_folder(self) -> AsyncIterator[Path]:
        """Lend a fresh folder to a build; it is removed at the end.

        Others know by its lock that its builder lives.
        """
        folder = self.building / secrets.token_hex(8)
        with await self._builds():
            folder.mkdir()
            lock = take_lock(folder, what=_BUILDS, make=False)
        with lock:
            try:
                yield folder
            finally:
                await asyncio.shield(remove_tree(folder))

    async def remove_dead_builds(self) -> None:
        """Remove the folders of builders that were killed."""
        with await self._builds():
            dead = [folder for folder in self.building.iterdir() if not is_locked(folder)]
            for folder in dead:
                _log.info(
                    "removing %s, left by a killed build",
                    folder,
                    extra={"action": "images.remove_dead_build"},
                )
                await remove_tree(folder)
        for folder in (self.root, self.root / "kernels"):
            remove_partial(folder)

    async def _builds(self) -> Lock:
        return await wait_for_lock(self.locks / "building.lock", what=_BUILDS, timeout_s=_SHORT_S)


def make_readable(folder: Path) -> None:
    """Make a folder, where it is missing, that all may read: a VMM runs as another user."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
