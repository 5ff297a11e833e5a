"""Where the content of an archive goes: counted, bounded, under numbers instead of names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from emberbox.errors import PayloadTooLarge
from emberbox.files.paths import clean_path
from emberbox.model import MIB
from emberbox.service.uploads.bundles import BundleFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

READ_BYTES = 256 * 1024
"""Most bytes that an archive is asked for at once."""
MAX_RATIO = 200
"""How many times its own size an archive may hold, above `RATIO_FREE_BYTES`."""
RATIO_FREE_BYTES = 16 * MIB
ENTRIES_PER_FILE = 4
"""How many entries of any kind (folders, long names, …) an archive may have for each file that it
may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBounds:
    """What one archive may hold: bytes of all its files together, and files."""

    total_bytes: int
    files: int


class Room(Protocol):
    """What promises bytes before they are written: a `Reservation`."""

    def keep(self, size: int) -> None:
        """See that so many bytes in all are promised to the team. Raises `QuotaExceeded`."""

    def write(self, size: int) -> None:
        """Have so many more bytes of the disk promised. Raises `NoSpace`."""


class DiskFailed(Exception):
    """Writing failed, as opposed to reading the archive; `reason` says how."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Sink:
    """Takes what comes out of one archive.

    Args:
        folder: Where files are written, as `000000`, `000001`, ….
        bounds: What is taken at most; what exceeds it raises `PayloadTooLarge`.
        packed_bytes: The archive's own size.
        room: Promises bytes before they are written.
    """

    def __init__(self, folder: Path, bounds: ArchiveBounds, packed_bytes: int, room: Room) -> None:
        self.files: list[BundleFile] = []
        self.bounds = bounds
        self._folder = folder
        self._room = room
        self._entries = 0
        self._bytes = 0
        self._most_by_ratio = max(RATIO_FREE_BYTES, MAX_RATIO * packed_bytes)

    def entry(self) -> None:
        """Count an entry of any kind."""
        self._entries += 1
        if self._entries > ENTRIES_PER_FILE * self.bounds.files:
            raise PayloadTooLarge(
                f"the archive has more than {ENTRIES_PER_FILE * self.bounds.files} entries; "
                "upload fewer files"
            )

    def count(self, size: int) -> None:
        """Count bytes that came out."""
        self._bytes += size
        if self._bytes > self.bounds.total_bytes:
            raise PayloadTooLarge(f"the archive holds more than {self.bounds.total_bytes} bytes; upload less")
        if self._bytes > self._most_by_ratio:
            raise PayloadTooLarge(
                f"the archive expands to more than {MAX_RATIO} times its size; "
                "upload less, or without packing"
            )
        self._room.keep(self._bytes)
        self._room.write(size)

    def add(self, name: str, pieces: Iterable[bytes], mode: int) -> None:
        """Write one file, whose bytes were counted. Raises `InvalidPath` for its name."""
        path = clean_path(name)
        if _is_litter(path):
            for _ in pieces:
                pass
            return
        if len(self.files) >= self.bounds.files:
            raise PayloadTooLarge(f"the archive has more than {self.bounds.files} files; upload fewer")
        place = self._folder / f"{len(self.files):06}"
        self._write(place, pieces)
        self.files.append(BundleFile(path, place, 0o755 if mode & 0o111 else 0o644))

    def _write(self, place: Path, pieces: Iterable[bytes]) -> None:
        try:
            stream = place.open("xb", buffering=0)
        except OSError as error:
            raise DiskFailed(error) from error
        with stream:
            for piece in pieces:
                try:
                    stream.write(piece)
                except OSError as error:
                    raise DiskFailed(error) from error


def _is_litter(path: str) -> bool:
    # What a Mac puts into archives beside the files.
    return path.startswith("__MACOSX/") or path.rpartition("/")[2] == ".DS_Store"
