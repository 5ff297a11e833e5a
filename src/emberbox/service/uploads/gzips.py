"""Unpacks gzip within bounds of its own.

The standard library reads a member's header byte by byte, and begins a member anew in Python: a header
without end, or millions of empty members, would keep a thread busy for a minute.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from emberbox.errors import InvalidArchive
from emberbox.service.uploads.unpacking import READ_BYTES

if TYPE_CHECKING:
    from pathlib import Path

_MOST_MEMBERS = 10_000
_READ_BYTES = 64 * 1024
_GZIP_WINDOW = 31


class _Members(io.RawIOBase):
    """What the members of a gzip file hold, one behind the other."""

    def __init__(self, path: Path) -> None:
        self._source = path.open("rb", buffering=0)
        self._packed = b""
        self._member: zlib._Decompress | None = None
        self._members = 0

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase`. Raises `InvalidArchive`, `EOFError` and `zlib.error`."""
        while self._more():
            member = self._member or self._begin()
            data = member.decompress(self._packed, len(buffer))
            self._packed, self._member = member.unconsumed_tail, member
            if member.eof:
                self._packed, self._member = member.unused_data.lstrip(b"\0"), None
            if data:
                buffer[: len(data)] = data
                return len(data)
        if self._member is not None:
            raise EOFError("the last member is cut off")
        return 0

    def close(self) -> None:
        """See `io.RawIOBase`."""
        self._source.close()
        super().close()

    def _more(self) -> bool:
        """Tell whether there is more to unpack. Zeros behind a member are padding."""
        while not self._packed:
            self._packed = self._source.read(_READ_BYTES)
            if not self._packed:
                return False
            if self._member is None and self._members:
                self._packed = self._packed.lstrip(b"\0")
        return True

    def _begin(self) -> zlib._Decompress:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise InvalidArchive(f"the archive has more than {_MOST_MEMBERS} gzip members; pack it anew")
        return zlib.decompressobj(_GZIP_WINDOW)


def open_gzip(path: Path) -> io.BufferedReader:
    """Open a gzip file for what it holds; reading it raises `zlib.error` or `EOFError` for damage."""
    return io.BufferedReader(_Members(path), READ_BYTES)
