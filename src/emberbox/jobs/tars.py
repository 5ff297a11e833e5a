"""Reads tar archives (ustar, GNU and pax) in one pass, with memory that is bounded for every entry.

The standard library takes a single header apart; the walk from one to the next is here, since the library's own reads attributes
of any length into memory and searches them in quadratic time.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from emberbox.errors import InvalidArchive
from emberbox.jobs.paths import clean_path
from emberbox.jobs.unpacking import READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emberbox.jobs.unpacking import Sink

_BLOCK = tarfile.BLOCKSIZE
_MAX_META_BYTES = 64 * 1024
"""Most bytes that the attributes of one entry, or its long name, may take."""
_MAX_LENGTH_DIGITS = 8
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_IGNORED = (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)


def is_tar(head: bytes) -> bool:
    """Return whether a file that begins with these 512 bytes is a tar archive."""
    if head[257:262] != b"ustar" or len(head) < _BLOCK:
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def unpack_tar(read: Callable[[int], bytes], sink: Sink) -> None:
    """Hand all files of an archive to the sink. Blocks.

    Args:
        read: Returns up to so many bytes of the plain archive; empty at its end.
        sink: Takes the files.

    Raises:
        InvalidArchive: An entry is refused or damaged.
        Exception: Whatever `read` raises.
    """
    attributes: dict[str, str] = {}
    while (info := _next(read)) is not None:
        sink.entry()
        if info.type in (*_PAX, *_IGNORED, tarfile.GNUTYPE_LONGNAME):
            meta = _meta(read, info, sink)
            if info.type in _PAX:
                attributes.update(_pax(meta))
            elif info.type == tarfile.GNUTYPE_LONGNAME:
                attributes["path"] = _text(meta.rstrip(b"\0"))
        else:
            _entry(read, sink, info, attributes)
            attributes = {}


def _entry(read: Callable[[int], bytes], sink: Sink, info: tarfile.TarInfo, attributes: dict[str, str]) -> None:
    name = attributes.get("path", info.name)
    if info.type == tarfile.DIRTYPE:
        # The archive's own folder, `./`, is not one within it.
        if name.strip("./") or ".." in name:
            clean_path(name)
        return
    if info.type not in _FILES or any(attribute.startswith("GNU.sparse.") for attribute in attributes):
        raise InvalidArchive(
            f"the archive's entry {name[:100]!a} is a link, a device or sparse; only files and folders are taken"
        )
    size = int(attributes.get("size", info.size))
    if size < 0:
        raise InvalidArchive(f"the archive's entry {name[:100]!a} has no size")
    sink.add(name, _pieces(read, size), info.mode)


def _next(read: Callable[[int], bytes]) -> tarfile.TarInfo | None:
    block = _exactly(read, _BLOCK, may_end=True)
    if not block.strip(b"\0"):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise InvalidArchive("the archive is damaged or incomplete; make it anew", detail=repr(error)) from error


def _meta(read: Callable[[int], bytes], info: tarfile.TarInfo, sink: Sink) -> bytes:
    if not 0 <= info.size <= _MAX_META_BYTES:
        raise InvalidArchive("an entry of the archive has attributes that are too long")
    sink.count(info.size)
    return b"".join(_pieces(read, info.size))


def _pax(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a pax header: `LENGTH NAME=VALUE` and a new line each, the length being that of all of it."""
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + _MAX_LENGTH_DIGITS)
        length = int(data[start:space]) if space > start and data[start:space].isdigit() else 0
        end = start + length
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise InvalidArchive("an entry of the archive has damaged attributes")
        yield _text(name), _text(value)
        start = end


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pieces(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Yield an entry's bytes, and pass over what fills its last block."""
    left = size
    while left:
        piece = read(min(left, READ_BYTES))
        if not piece:
            raise InvalidArchive("the archive is incomplete; upload it again")
        left -= len(piece)
        yield piece
    _exactly(read, -size % _BLOCK)


def _exactly(read: Callable[[int], bytes], size: int, *, may_end: bool = False) -> bytes:
    data = b""
    while len(data) < size and (piece := read(size - len(data))):
        data += piece
    if len(data) < size and (data or not may_end):
        raise InvalidArchive("the archive is incomplete; upload it again")
    return data
