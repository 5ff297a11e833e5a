"""Blobs as files of a folder."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from obstore.store import LocalStore

from emberbox.blobs.objects import ObjectBlobs
from emberbox.files.atomic import sync

_UNFINISHED = re.compile(r".+#\d+")


class LocalBlobs(ObjectBlobs):
    """Blobs below a folder, one file each.

    A put writes beside its place and renames. Then file and folders are brought to the disk
    (fsync), so that a row which refers to a blob never outlives it in a loss of power. A process
    that is killed meanwhile leaves a file with `#` in its name, which no listing shows and `tidy`
    removes.

    Args:
        folder: Where the blobs lie; made if it is not there, for the owner alone.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        super().__init__(LocalStore(folder, automatic_cleanup=True))

    async def tidy(self, older_than_s: float) -> int:
        """See `BlobStore.tidy`."""
        return await self._call(self._tidy, time.time() - older_than_s)

    def _settle(self, key: str) -> None:
        place = self._folder / key
        while place != self._folder.parent:
            sync(place)
            place = place.parent

    def _tidy(self, before: float) -> int:
        removed = 0
        for folder, _, names in os.walk(self._folder):
            for path in (Path(folder, name) for name in names if _UNFINISHED.fullmatch(name)):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()
                        removed += 1
        return removed
