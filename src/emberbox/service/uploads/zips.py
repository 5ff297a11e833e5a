"""Reads zip archives with the standard library's parser, within bounds of its own."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
from typing import TYPE_CHECKING

from emberbox.errors import InvalidArchive
from emberbox.files.paths import clean_path
from emberbox.model import MIB
from emberbox.service.uploads.unpacking import READ_BYTES, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_DIRECTORY_BYTES_PER_FILE = 512
_ENCRYPTED = 0x41
_UTF8 = 0x800


class _BoundedFile(io.FileIO):
    """A file that refuses large reads.

    The parser reads an archive's directory into memory at once, and believes the size that it says.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "rb")
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, or what is left. Raises `InvalidArchive` for more than the bound."""
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if not 0 <= size <= self._most:
            raise InvalidArchive("the archive's table of contents is too long, or damaged")
        return super().read(size) or b""


def unpack_zip(path: Path, sink: Sink) -> None:
    """Hand all files of an archive to the sink. Blocks.

    Raises:
        InvalidArchive: An entry is refused.
        Exception: Many kinds, for a damaged archive.
    """
    most = max(sink.bounds.files * _DIRECTORY_BYTES_PER_FILE, MIB)
    with _BoundedFile(path, most) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            sink.entry()
            name = _name(info)
            _check(name, info)
            if name.endswith("/"):
                clean_path(name)
            else:
                sink.add(name, _pieces(archive, info, sink), info.external_attr >> 16)


def _name(info: zipfile.ZipInfo) -> str:
    # The parser cuts its `filename` at a NUL; the original shows what was hidden behind it.
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        # Many programs write UTF-8 without saying so, and hardly any text in the old code page
        # happens to be valid UTF-8.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    # Some programs on Windows separate folders so, against the format's rules.
    return name.replace("\\", "/")


def _check(name: str, info: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidArchive(
            f"the archive's entry {name[:100]!a} is a link or a device; only files and folders are taken"
        )
    if info.flag_bits & _ENCRYPTED:
        raise InvalidArchive("the archive is encrypted; upload it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidArchive("the archive is compressed in an unusual way; use the method 'deflate'")


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, sink: Sink) -> Iterator[bytes]:
    with archive.open(info) as source:
        while piece := source.read(READ_BYTES):
            sink.count(len(piece))
            yield piece
