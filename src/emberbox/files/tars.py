"""Reads tar archives (ustar, GNU and pax) of strangers: in one pass, in bounded memory, believing nothing.

The standard library takes a single header apart; the walk from one to the next is here. The library's own
reads attributes of any length, searches them in quadratic time, and takes damage for the archive's end. Names
and links are told as they are: where something goes, and whether it may, its reader decides.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from emberbox.files.tar_fields import (
    MAX_BYTES,
    SPARSE,
    BadTar,
    NoTar,
    Parts,
    attributes_of,
    field_of,
    number_of,
    parts_of,
    text_of,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

HEADER_BYTES = 64 * 1024
"""Most bytes of the headers of one entry with all that extends them, such as a long name and attributes."""
_BLOCK = tarfile.BLOCKSIZE
_PIECE_BYTES = 256 * 1024
_LEAP_BYTES = 1024**3
_HEADERS = 16
_END_BYTES = 1024**2
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}

Kind = Literal["file", "folder", "link", "hard link", "other"]
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
}
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_WITHOUT_CONTENT = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, *_DEVICES)


class Bytes(Protocol):
    """What an archive is read from, such as a binary file, or what `gzip.open` returns."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""

    def seek(self, offset: int, whence: int, /) -> int:
        """Pass over bytes."""

    def seekable(self) -> bool:
        """Tell whether `seek` works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarEntry:
    """What an archive says of one entry.

    Args:
        name: Not checked, but that it holds no NUL. Bytes that are not UTF-8 are surrogate escapes.
        kind: `other` is a device, a pipe, or what no rule names.
        mode: Permission bits, with those that let a program act as another user.
        uid, gid: Any numbers.
        time_s: Unix time of the last change: any number.
        size: Of a file: its bytes, holes included. 0 for all else.
        target: Of a link: what it says, as `name` not checked. Of a hard link: the name of another entry.
        offset: Of a file: where what is stored of it begins in the archive.
        parts: None unless it is a sparse file: offset in the file and length of each part that is stored, one
            behind the other in the archive. They rise, do not overlap and lie within `size`; else it is
            zeros.
    """

    name: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    time_s: float
    size: int
    target: str
    offset: int
    parts: Parts | None


class TarReader:
    """Goes through the entries of an archive, once. Blocks while it reads.

    Attributes that an archive states for all its entries together are passed over. So is the content of an
    entry that was not asked for by `pieces`.

    Args:
        stream: The archive, at its beginning. Of one that is packed, what unpacks it (`gzip.open`), whose
            errors become `BadTar`.
        header_bytes: As `HEADER_BYTES`.
        count: Told the bytes of attributes and content before they are passed over or handed out, so that it
            can raise when they are too many. It is also what ends an archive that unpacks without an end.
    """

    def __init__(
        self,
        stream: Bytes,
        *,
        header_bytes: int = HEADER_BYTES,
        count: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._stream = stream
        self._header_bytes = header_bytes
        self._count = count
        self._at = 0
        # Bytes of the entry that came last: left to its headers, unread, and filling its last block.
        self._room = self._left = self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        """Yield the entries.

        Raises:
            BadTar: The archive is damaged or breaks the rules.
            OSError: The stream cannot be read.
            Exception: Whatever `count` raises.
        """
        while (entry := self._next()) is not None:
            yield entry

    def pieces(self) -> Iterator[bytes]:
        """Yield what is stored of the entry that came last, 256 KiB at once at most. Raises as iterating."""
        while self._left:
            piece = self._read(min(self._left, _PIECE_BYTES))
            if not piece:
                raise BadTar("the archive is incomplete")
            self._left -= len(piece)
            self._count(len(piece))
            yield piece

    def _next(self) -> TarEntry | None:
        self._pass(self._left, counted=True)
        self._pass(self._padding, counted=False)
        self._left = self._padding = 0
        self._room = self._header_bytes
        attributes: dict[str, str] = {}
        for _ in range(_HEADERS):
            self._take_room(_BLOCK)
            block = self._exactly(_BLOCK, may_end=True)
            if not self._at:
                raise NoTar("it is empty")
            if not block.strip(b"\0"):
                if attributes:
                    raise BadTar("the archive ends with attributes of no entry")
                self._end()
                return None
            info = self._parsed(block)
            if info.type in _PAX:
                attributes |= attributes_of(self._described(info.size))
            elif info.type in _LONG:
                attributes[_LONG[info.type]] = text_of(self._described(info.size).rstrip(b"\0"))
            elif info.type == tarfile.XGLTYPE:
                self._described(info.size)
            else:
                return self._entry(info, block, attributes)
        raise BadTar("an entry of the archive has too many headers")

    def _end(self) -> None:
        """Read what fills an archive's end, so that what is packed comes to the sum over all of it."""
        left = _END_BYTES
        while left and (data := self._read(min(left, _PIECE_BYTES))):
            left -= len(data)

    def _entry(self, info: tarfile.TarInfo, block: bytes, attributes: dict[str, str]) -> TarEntry:
        stored = 0 if info.type in _WITHOUT_CONTENT else number_of(attributes.get("size", info.size))
        if not 0 <= stored <= MAX_BYTES:
            raise BadTar("an entry of the archive has no size that could be")
        kind = _KINDS.get(info.type, "other")
        self._left, self._padding = stored, -stored % _BLOCK
        size, parts = (stored if kind == "file" else 0), None
        if info.type == tarfile.GNUTYPE_SPARSE:
            size, parts = self._old_sparse(block)
        elif kind == "file" and any(attribute.startswith(SPARSE) for attribute in attributes):
            size, parts = self._sparse(attributes)
        name = attributes.get(f"{SPARSE}name", attributes.get("path", info.name))
        target = attributes.get("linkpath", info.linkname)
        if "\0" in name or "\0" in target:
            raise BadTar("an entry of the archive has a NUL in its name")
        return TarEntry(
            name=name,
            kind=kind,
            mode=info.mode & 0o7777,
            uid=number_of(attributes.get("uid", info.uid)),
            gid=number_of(attributes.get("gid", info.gid)),
            time_s=time_of(attributes.get("mtime", info.mtime)),
            size=size,
            target=target,
            offset=self._at,
            parts=parts,
        )

    def _parsed(self, block: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if self._at == _BLOCK:
                raise NoTar("it is no tar archive") from error
            raise BadTar("the archive is damaged: it holds what is no entry") from error

    def _described(self, size: int) -> bytes:
        """Return what lies behind a header that describes the next entry."""
        if size < 0:
            raise BadTar("an entry of the archive has attributes of no size")
        self._take_room(size)
        self._count(size)
        data = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return data

    def _take_room(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise BadTar("an entry of the archive has attributes that are too long")

    def _old_sparse(self, block: bytes) -> tuple[int, Parts]:
        """Read the map of GNU's own format: pairs of numbers in the header and in blocks behind it."""
        size, fields, more = field_of(block[483:495]), block[386:482], block[482]
        while more:
            self._take_room(_BLOCK)
            block = self._exactly(_BLOCK)
            fields, more = fields + block[:504], block[504]
        numbers = [field_of(fields[start : start + 12]) for start in range(0, len(fields), 12)]
        return size, parts_of(numbers, size, self._left)

    def _sparse(self, attributes: dict[str, str]) -> tuple[int, Parts]:
        """Read the map of the pax formats: 0.0 and 0.1 have it in the attributes, 1.0 before the content."""
        size = number_of(attributes.get(f"{SPARSE}realsize", attributes.get(f"{SPARSE}size", "")))
        pairs = attributes.get(f"{SPARSE}map", "")
        numbers = [number_of(number) for number in pairs.split(",")] if pairs else []
        if attributes.get(f"{SPARSE}major", "0") != "0":
            numbers = self._stored_map()
        return size, parts_of(numbers, size, self._left)

    def _stored_map(self) -> list[int]:
        """Read the map before a sparse file's content: the number of pairs, then each number in a line."""
        text, lines, wanted = bytearray(), 0, 1
        while lines < wanted:
            if self._left < _BLOCK:
                raise BadTar("the map of a sparse file in the archive has no end")
            self._left -= _BLOCK
            block = self._described(_BLOCK)
            text += block
            lines += block.count(b"\n")
            if wanted == 1 and lines:
                wanted += 2 * number_of(text_of(text[: text.index(b"\n")]))
        if wanted < 1:
            raise BadTar("the map of a sparse file in the archive is damaged")
        return [number_of(text_of(line)) for line in text.split(b"\n")[1:wanted]]

    def _pass(self, size: int, *, counted: bool) -> None:
        """Pass over bytes that must be there: by leaps where the stream can do that, none of them far."""
        while size:
            step = min(size, _LEAP_BYTES if self._stream.seekable() else _PIECE_BYTES)
            if counted:
                self._count(step)
            if step > _PIECE_BYTES:
                _unpacked(self._stream.seek, step - 1, os.SEEK_CUR)
                self._at += step - 1
                self._exactly(1)
            else:
                self._exactly(step)
            size -= step

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        data = b""
        while len(data) < size and (piece := self._read(size - len(data))):
            data += piece
        if len(data) < size and (data or not may_end):
            raise BadTar("the archive is incomplete")
        return data

    def _read(self, size: int) -> bytes:
        data = _unpacked(self._stream.read, size)
        self._at += len(data)
        return data


def is_tar(head: bytes) -> bool:
    """Return whether a file that begins with these 512 bytes is a tar archive of a kind that is in use."""
    if head[257:262] != b"ustar" or len(head) < _BLOCK:
        return False
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _unpacked(work: Callable[..., _T], *arguments: int) -> _T:
    """Do something with a stream that may unpack its data while it does."""
    try:
        return work(*arguments)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadTar("the archive is damaged or incomplete") from error
