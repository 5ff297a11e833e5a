"""What a blob store is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from emberbox.errors import InvalidPath

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence
    from pathlib import Path

PIECE_BYTES = 4 * 1024 * 1024
"""Most bytes of one piece of a stream: what a reader of a blob of any size holds in memory."""
MAX_KEY_LENGTH = 200
# Lower case alone, so that a file system that does not tell cases apart cannot mix two keys up.
_PART = r"[a-z0-9][a-z0-9_.-]{0,99}"
_KEY = re.compile(rf"{_PART}(/{_PART}){{0,7}}")


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob as a listing shows it.

    `size` in bytes; `modified_at_us` in microseconds since the epoch, by the store's clock.
    """

    key: str
    size: int
    modified_at_us: int


class BlobStore(Protocol):
    """Large bytes by key. A key is written once and never changed; readers may rely on that.

    Keys are made by Emberbox alone, from identifiers and hashes: up to 8 parts of `a-z`, `0-9`,
    `_`, `.` and `-`, with slashes between them. A wrong one raises `InvalidPath`.
    """

    async def put(self, key: str, data: bytes | AsyncIterable[bytes] | Path) -> int:
        """Store a blob and return its size in bytes. It appears whole, on stable storage, or not at all.

        Memory stays bounded for sources of any size. A put that is cancelled leaves nothing behind,
        or, when the last byte was already on its way, the whole blob.

        Raises:
            NoSpace: The disk is full; nothing is left of it.
            BlobError: The store failed.
            Exception: Whatever `data` raised; nothing was stored.
        """

    async def get(self, key: str) -> bytes:
        """Return a whole blob; for small ones. Raises `NotFound` and `BlobError`."""

    def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a blob's bytes in pieces of at most `PIECE_BYTES`.

        May be left at any time: nothing stays open between pieces.

        Args:
            key: The blob.
            offset: The first byte; at or behind the end, nothing is yielded.
            length: Most bytes; None for all.

        Raises:
            NotFound: There is no such blob; at the first piece, or later when it was deleted meanwhile.
            BlobError: The store failed.
        """

    async def size(self, key: str) -> int:
        """Return a blob's size in bytes. Raises `NotFound` and `BlobError`."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete blobs; ones that are not there are no error.

        Raises `BlobError`, with any part of them deleted; repeat it.
        """

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """Yield all blobs below a key's leading parts (`logs`, not `lo`), in any order; empty for all.

        Raises `BlobError`.
        """

    async def tidy(self, older_than_s: float) -> int:
        """Remove what puts left that were killed so many seconds ago or more; returns how many.

        Raises `BlobError`.
        """

    async def close(self) -> None:
        """End all calls and let go of threads and connections. Repeating is harmless."""


def check_key(key: str) -> str:
    """Return the key. Raises `InvalidPath` for one that cannot be a blob's."""
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise InvalidPath(f"{key[:MAX_KEY_LENGTH]!r} cannot be a blob's key")
    return key
