"""Guest memory between a file and the clones that share it.

A VMM opens its memory file for writing even when it maps it privately, so clones never get the
file: they get a sealed copy in memory (memfd_create(2), F_SEAL_WRITE), which nobody can change,
however broken the VMM. Holes stay holes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from emberbox.files.descriptors import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE (linux/fcntl.h)
_ADD_SEALS = 1033
_PAGE = 4096
_SAMPLES = 64
_PIECE = 8 * 1024 * 1024


def create_memory(path: Path, size: int) -> int:
    """Make the empty, sparse file `path` of `size` bytes; returns it open for reading and writing.

    Raises `OSError`.

    Args:
        path: A path that does not exist.
        size: Bytes.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield start and end, in bytes, of each part of the file that holds data."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def empty_copy(path: Path, name: str) -> int:
    """Make an in-memory file as long as the file at `path`, all of it a hole; returns its descriptor.

    Raises `OSError`.
    """
    copy = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(copy, path.stat().st_size)
    except BaseException:
        os.close(copy)
        raise
    return copy


def fill_and_seal(copy: int, path: Path) -> None:
    """Fill what `empty_copy` made and seal it. Blocks (about 2 GB/s). Raises `OSError`."""
    with opened(path, os.O_RDONLY) as source:
        for start, end in extents(source):
            os.lseek(copy, start, os.SEEK_SET)
            while start < end:
                sent = os.sendfile(copy, source, start, end - start)
                if not sent:
                    raise OSError(errno.EIO, "the file became shorter while it was read", str(path))
                start += sent
        fcntl.fcntl(copy, _ADD_SEALS, _SEALS)


def sealed_bytes(data: bytes, name: str) -> int:
    """Return a sealed in-memory file that holds `data`."""
    copy = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(copy), "wb") as file:
        file.write(data)
    fcntl.fcntl(copy, _ADD_SEALS, _SEALS)
    return copy


def reopen(descriptor: int) -> int:
    """Return the same file anew for reading, with a position of its own."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def sample_digest(descriptor: int) -> str:
    """Return a hash over a fixed choice of pages, the same for the same content.

    Takes about a millisecond.
    """
    pages = os.fstat(descriptor).st_size // _PAGE
    digest = hashlib.sha256()
    # A stride without a common pattern with memory's layout (2 ** 32 divided by the golden ratio).
    for page in sorted({number * 0x9E3779B1 % pages for number in range(_SAMPLES)}):
        digest.update(os.pread(descriptor, _PAGE, page * _PAGE))
    return digest.hexdigest()


def full_digest(descriptor: int) -> str:
    """Return a hash over all that is not zero, each page with its place. Blocks (about 1 GB/s).

    Pages of zeros do not count, so that a copy with other holes has the same hash.
    """
    digest = hashlib.sha256()
    zeros = bytes(_PAGE)
    for start, end in extents(descriptor):
        for offset in range(start, end, _PIECE):
            piece = os.pread(descriptor, min(_PIECE, end - offset), offset)
            for within in range(0, len(piece), _PAGE):
                page = piece[within : within + _PAGE]
                if page != zeros[: len(page)]:
                    digest.update((offset + within).to_bytes(8, "big"))
                    digest.update(page)
    return digest.hexdigest()
