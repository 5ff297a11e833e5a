r"""From an upload to a list of files that can be stored.

- Several files: each keeps its path; `\` in names from Windows counts as `/`. Nothing is opened.
- One file that is a .zip, .tar or .tar.gz, by its content: it is opened (see
  `emberbox.service.uploads.archives`). Programs that are zip files themselves (.pyz, .jar, .whl,
  .egg) stay as they are.
- One other file: itself. It may not be empty.

When all files of an archive lie in one folder, as in those that are made from a repository or by
packing a folder, that folder is left out, unless it is a Python package (it has an `__init__.py`),
whose name matters to its own imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emberbox.errors import BlobError, EmberboxError, InvalidArchive, InvalidInput, NoSpace, PayloadTooLarge
from emberbox.files.disk import is_full
from emberbox.files.paths import check_distinct, clean_path
from emberbox.service.uploads.archives import ArchiveBounds, archive_kind, unpack
from emberbox.service.uploads.bundles import BundleFile
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from emberbox.config import ServerSettings
    from emberbox.service.accounts.reservations import Reservation

UPLOADS = "uploads"
"""The folder in the data folder where uploads lie while they are taken in."""
_ARCHIVE_NAMES = (".zip", ".tar", ".tar.gz", ".tgz")
_CLOSED_NAMES = (".pyz", ".jar", ".whl", ".egg")
_OTHER_ARCHIVES = (".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".7z", ".rar")
_DRIVE = re.compile(r"[A-Za-z]:/")


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One file of an upload: the name that the sender gave it, and where its bytes lie."""

    filename: str
    path: Path


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that can be stored.

    `archive` says whether they came in one; `name` is the upload's, without folders; `folder` is
    what was left out of all paths, None when nothing was.
    """

    files: list[BundleFile]
    archive: bool
    name: str
    folder: str | None = None


@contextlib.asynccontextmanager
async def scratch_folder(data: Path) -> AsyncIterator[Path]:
    """Make a folder for one upload, and remove it with all that is in it, whatever happens.

    Args:
        data: The data folder. What a killed process leaves in its `uploads` is the sweeper's to remove.

    Raises:
        NoSpace: The disk is full.
    """
    folder = data / UPLOADS / secrets.token_hex(16)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise _disk_failed(error) from error
    try:
        yield folder
    finally:
        await shielded(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def receive(
    parts: Sequence[UploadPart], settings: ServerSettings, scratch: Path, room: Reservation
) -> Upload:
    """Check an upload and open it if it is an archive.

    Args:
        parts: The files, whose bytes are on the disk.
        settings: For `upload_bytes` and `upload_files`.
        scratch: Where an archive is unpacked; removed by the caller when the files are stored. See
            `scratch_folder`.
        room: Promises the bytes that come out of an archive before they are written.

    Raises:
        InvalidInput: There is nothing, or one file without content.
        InvalidPath: A name cannot be used.
        InvalidArchive: An archive cannot be opened safely.
        PayloadTooLarge: There is more than the settings allow.
        QuotaExceeded: The team's storage is used up.
        NoSpace: The disk is full.
        BlobError: The disk failed otherwise.
    """
    try:
        # A thread cannot be stopped; were it left alone, it would write into a folder that is being removed.
        return await shielded(asyncio.to_thread(_receive, parts, settings, scratch, room))
    except OSError as error:
        raise _disk_failed(error) from error


def _receive(
    parts: Sequence[UploadPart], settings: ServerSettings, scratch: Path, room: Reservation
) -> Upload:
    bounds = ArchiveBounds(total_bytes=settings.upload_bytes, files=settings.upload_files)
    if not parts:
        raise InvalidInput("the upload has no files; send at least one")
    _check_size(parts, bounds)
    named = [(_relative(part.filename), part.path) for part in parts]
    if len(named) == 1:
        return _receive_one(*named[0], scratch, bounds, room)
    check_distinct(name for name, _ in named)
    return Upload([BundleFile(name, path) for name, path in named], archive=False, name=_base(named[0][0]))


def _receive_one(name: str, path: Path, scratch: Path, bounds: ArchiveBounds, room: Reservation) -> Upload:
    if path.stat().st_size == 0:
        raise InvalidInput(f"{name!r} is empty: it has 0 bytes, and nothing in it could be run")
    kind = None if name.lower().endswith(_CLOSED_NAMES) else archive_kind(path)
    if kind is None:
        _check_no_archive(name)
        return Upload([BundleFile(name, path)], archive=False, name=_base(name))
    folder = scratch / "unpacked"
    folder.mkdir(mode=0o700)
    files = unpack(path, kind, folder, bounds, room)
    if not files:
        raise InvalidArchive(f"{name!r} holds no files")
    left_out = _common_folder(files)
    if left_out is not None:
        files = [replace(file, path=file.path.removeprefix(f"{left_out}/")) for file in files]
    return Upload(files, archive=True, name=_base(name), folder=left_out)


def _check_size(parts: Sequence[UploadPart], bounds: ArchiveBounds) -> None:
    if len(parts) > bounds.files:
        raise PayloadTooLarge(f"the upload has {len(parts)} files; at most {bounds.files} are taken")
    total = sum(part.path.stat().st_size for part in parts)
    if total > bounds.total_bytes:
        raise PayloadTooLarge(f"the upload has {total} bytes; at most {bounds.total_bytes} are taken")


def _check_no_archive(name: str) -> None:
    lower = name.lower()
    if lower.endswith(_ARCHIVE_NAMES):
        raise InvalidArchive(
            f"{name!r} is named like an archive, but is none that can be opened; it may be damaged"
        )
    if lower.endswith(_OTHER_ARCHIVES):
        raise InvalidArchive(f"{name!r} cannot be opened; use .zip, .tar or .tar.gz")


def _relative(filename: str) -> str:
    name = filename.replace("\\", "/")
    return clean_path(f"/{name}" if _DRIVE.match(name) else name)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _common_folder(files: Sequence[BundleFile]) -> str | None:
    first = files[0].path.partition("/")[0]
    paths = [file.path for file in files]
    if f"{first}/__init__.py" in paths or not all(path.startswith(f"{first}/") for path in paths):
        return None
    return first


def _disk_failed(error: OSError) -> EmberboxError:
    if is_full(error):
        return NoSpace("the service's disk is full; try again later, or free some space", detail=str(error))
    return BlobError("the service could not store the upload for now; try again", detail=str(error))
