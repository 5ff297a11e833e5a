"""Refuses new work before the disk is full, so that what runs can still be finished and written down."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from emberbox.errors import NoSpace
from emberbox.model import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CACHED_S = 1.0


class SpaceGuard:
    """Watches the disk under the data folder. Looks at most once a second.

    Args:
        data: The data folder.
        free_mib: What must be free for new work to be taken, in MiB; 0 takes it always.
        statvfs: How the disk is asked; another one for tests.
    """

    def __init__(
        self, data: Path, free_mib: int, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    ) -> None:
        self._data = data
        self._wanted = free_mib * MIB
        self._statvfs = statvfs
        self._looked_at = -_CACHED_S
        self._free_bytes = 0
        self._reserved = 0
        self._inodes = True

    def free_bytes(self) -> int:
        """Return what the service may still write, in bytes, as it was a second ago at most."""
        self._look()
        return self._free_bytes

    def reserve(self, size: int) -> None:
        """Count bytes as written that will be; negative ones are given back.

        Raises:
            NoSpace: Less than what is wanted would be left free; nothing was counted.
        """
        if size > 0:
            self.check(size)
        self._reserved += size
        if size < 0:
            # What was written meanwhile is seen by the disk alone from now on.
            self._looked_at = -_CACHED_S

    def check(self, more: int = 0) -> None:
        """Raise `NoSpace` when less would be free than is wanted; the message names both.

        Args:
            more: Bytes that are to be written, besides those that are reserved.
        """
        if not self._wanted:
            return
        self._look()
        free = self._free_bytes - self._reserved
        if free - more < self._wanted:
            raise NoSpace(
                f"the disk of the data folder has {max(0, free) // MIB} MiB free"
                + (f", this needs {-(-more // MIB)} MiB" if more else "")
                + f", and {self._wanted // MIB} MiB are kept for the work that is under way. "
                "Nothing new is taken until there is more: free some space, shorten the retention, "
                "or lower retention.free_mib"
            )
        if not self._inodes:
            raise NoSpace(
                "the file system of the data folder can hold no more files (no inodes are free); remove some"
            )

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _CACHED_S:
            return
        try:
            found = self._statvfs(self._data)
        except OSError as error:
            raise NoSpace(
                "the disk of the data folder cannot be looked at; is it still there?", detail=str(error)
            ) from error
        self._free_bytes = found.f_bavail * found.f_frsize
        # File systems that make inodes as they go report none at all.
        self._inodes = found.f_files == 0 or found.f_favail > 0
        self._looked_at = now
