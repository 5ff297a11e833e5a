"""Opens uploaded archives without believing them: .zip, .tar and .tar.gz, told apart by their content.

Names in an archive are labels: what it holds is written under numbers. Links, devices, encrypted
and sparse entries, paths that lead out, and files that are there twice make the whole archive
invalid. Sizes that it states are not believed: bytes are counted while they come out. Archives
within it stay closed.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from typing import TYPE_CHECKING

from emberbox.errors import InvalidArchive, InvalidPath, NoSpace, PayloadTooLarge, QuotaExceeded
from emberbox.files.paths import check_distinct, clean_path
from emberbox.files.tar_fields import BadTar
from emberbox.files.tars import Bytes, TarReader, is_tar
from emberbox.service.uploads.gzips import open_gzip
from emberbox.service.uploads.unpacking import ArchiveBounds, DiskFailed, Room, Sink
from emberbox.service.uploads.zips import unpack_zip

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.service.uploads.bundles import BundleFile

__all__ = ["ArchiveBounds", "archive_kind", "begins_like_archive", "unpack"]

_HEAD_BYTES = 512
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# What parsers raise for damage; they are many, and not all of it is documented.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, LookupError, ArithmeticError)
_UNSUPPORTED = (NotImplementedError, RuntimeError)


def begins_like_archive(path: Path) -> bool:
    """Tell whether a file may be an archive, by its first bytes alone. Blocks while it reads them."""
    head = _head(path)
    return head.startswith((*_ZIP, _GZIP)) or is_tar(head)


def archive_kind(path: Path) -> str | None:
    """Return `zip`, `tar` or `tar.gz` by a file's first bytes, or None when it is no archive.

    Blocks while it reads.
    """
    head = _head(path)
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(_GZIP):
        return "tar.gz" if is_tar(_unpacked_head(path)) else None
    return "tar" if is_tar(head) else None


def unpack(path: Path, kind: str, folder: Path, bounds: ArchiveBounds, room: Room) -> list[BundleFile]:
    """Unpack an archive into numbered files of an empty folder.

    Blocks; what it wrote is the caller's to remove.

    Args:
        path: The archive.
        kind: As `archive_kind` tells it.
        folder: An empty folder.
        bounds: What it may hold.
        room: Promises bytes before they are written.

    Raises:
        InvalidArchive: It is damaged, or holds what is refused; the message names the entry.
        PayloadTooLarge: It holds more than the bounds allow, or expands as only a bomb does.
        QuotaExceeded, NoSpace: There is no room for what it holds.
        OSError: The folder's disk failed or is full.
    """
    sink = Sink(folder, bounds, path.stat().st_size, room)
    try:
        _unpack(path, kind, sink)
        check_distinct(file.path for file in sink.files)
    except (InvalidArchive, PayloadTooLarge, QuotaExceeded, NoSpace):
        raise
    except InvalidPath as error:
        raise InvalidArchive(f"the archive cannot be used: {error.message}") from error
    except DiskFailed as error:
        raise error.reason from error
    except _DAMAGE as error:
        raise InvalidArchive(
            "the archive is damaged or incomplete; make it anew", detail=repr(error)
        ) from error
    except _UNSUPPORTED as error:
        raise InvalidArchive(
            "this kind of archive is not supported; use a plain .zip or .tar.gz", detail=repr(error)
        ) from error
    return sink.files


def _unpack(path: Path, kind: str, sink: Sink) -> None:
    if kind == "zip":
        unpack_zip(path, sink)
    elif kind == "tar.gz":
        with open_gzip(path) as packed:
            _unpack_tar(packed, sink)
    else:
        with path.open("rb") as plain:
            _unpack_tar(plain, sink)


def _unpack_tar(stream: Bytes, sink: Sink) -> None:
    """Hand all files of an archive to the sink: files and folders alone, by paths below their folder."""
    reader = TarReader(stream, count=sink.count)
    try:
        for entry in reader:
            sink.entry()
            if entry.kind == "folder":
                # The archive's own folder, `./`, is not one within it.
                if entry.name.strip("./") or ".." in entry.name:
                    clean_path(entry.name)
            elif entry.kind != "file" or entry.parts is not None:
                what = f"the archive's entry {entry.name[:100]!a} is a link, a device or sparse"
                raise InvalidArchive(f"{what}; only files and folders are taken")
            else:
                sink.add(entry.name, reader.pieces(), entry.mode)
    except BadTar as error:
        raise InvalidArchive(f"{error}; make it anew", detail=repr(error.__cause__ or error)) from error


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _unpacked_head(path: Path) -> bytes:
    with contextlib.suppress(*_DAMAGE), open_gzip(path) as packed:
        return packed.read(_HEAD_BYTES)
    return b""
