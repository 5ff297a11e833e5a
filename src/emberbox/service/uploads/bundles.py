"""Several files as one: a tar archive in a form that the same files always have, and its identity.

The archive holds plain files alone, sorted by path, with the mode 0644 or 0755 and no owner or time.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput
from emberbox.files.paths import check_distinct, clean_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PIECE_BYTES = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A file to be stored: its path below the work folder, its bytes or where they lie, and its mode."""

    path: str
    source: bytes | Path
    mode: int = 0o644

    @property
    def size(self) -> int:
        """How many bytes it has; looks at the disk where they lie there."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file whose bytes were counted and hashed. `offset` is where they begin in the stored form."""

    path: str
    source: bytes | Path
    mode: int
    size: int
    sha256: str
    offset: int
    header: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A content before it is stored: `kind` is `file` or `bundle`, `size` the bytes of its stored form."""

    kind: str
    sha256: str
    size: int
    files: tuple[PlannedFile, ...]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What is written of the files into the row."""
        told = ("path", "size", "mode", "sha256", "offset")
        return [{name: getattr(file, name) for name in told} for file in self.files]

    def pieces(self) -> Iterator[bytes]:
        """Yield the stored form: the file, or the archive. Blocks while it reads.

        Raises:
            InvalidInput: A file changed since it was counted.
        """
        for file in self.files:
            yield file.header
            yield from _read(file)
            if self.kind == "bundle":
                yield bytes(-file.size % _BLOCK)
        if self.kind == "bundle":
            yield _END


def plan(kind: str, files: Sequence[BundleFile]) -> Plan:
    """Count and hash files. Blocks while it reads them.

    Args:
        kind: `file` for exactly one file as it is, `bundle` for an archive.
        files: In any order: the identity does not depend on it.

    Raises:
        InvalidPath: A path cannot be used, or two exclude each other.
    """
    named = sorted(((clean_path(file.path), file) for file in files), key=lambda pair: pair[0].encode())
    check_distinct(path for path, _ in named)
    planned, offset = [], 0
    for path, given in named:
        file = _plan_one(kind, path, given, offset)
        planned.append(file)
        offset = file.offset + file.size + (-file.size % _BLOCK if kind == "bundle" else 0)
    return Plan(
        kind, _identity(kind, planned), offset + (len(_END) if kind == "bundle" else 0), tuple(planned)
    )


def _plan_one(kind: str, path: str, given: BundleFile, offset: int) -> PlannedFile:
    mode = 0o755 if given.mode & 0o111 else 0o644
    size, digest = _digest(given.source)
    header = _header(path, mode, size) if kind == "bundle" else b""
    return PlannedFile(path, given.source, mode, size, digest, offset + len(header), header)


def _digest(source: bytes | Path) -> tuple[int, str]:
    if isinstance(source, bytes):
        return len(source), hashlib.sha256(source).hexdigest()
    with source.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return stream.tell(), digest


def _header(path: str, mode: int, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.mode, info.size = mode, size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _identity(kind: str, files: Sequence[PlannedFile]) -> str:
    # Names and kind are part of it: bytes alone would let one upload take the place of another that
    # is read differently.
    listing = [
        "emberbox content 1",
        kind,
        *([file.path, file.mode, file.size, file.sha256] for file in files),
    ]
    return hashlib.sha256(json.dumps(listing, separators=(",", ":")).encode()).hexdigest()


def _read(file: PlannedFile) -> Iterator[bytes]:
    left = file.size
    with BytesIO(file.source) if isinstance(file.source, bytes) else file.source.open("rb") as stream:
        while left and (piece := stream.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece
    if left:
        raise InvalidInput(f"{file.path!r} became shorter while it was stored; upload it again")
