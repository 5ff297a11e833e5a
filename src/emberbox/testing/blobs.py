"""A blob store in memory, and its failures on demand."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.blobs.base import PIECE_BYTES, BlobInfo, check_key
from emberbox.errors import BlobError, NoSpace, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence


class MemoryBlobs:
    """Implements `BlobStore` with a dictionary.

    Args:
        capacity_bytes: A put that would exceed it raises `NoSpace`; None for no bound.

    Attributes:
        blobs: What is stored.
        modified_us: When each was stored, in microseconds; set it to make a blob old.
        failing: Names of methods (`put`, `get`, …) that raise `BlobError` while they are in here.
        calls: Names of the methods that were called, with their keys.
    """

    def __init__(self, *, capacity_bytes: int | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.modified_us: dict[str, int] = {}
        self.failing: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self._capacity = capacity_bytes
        self._closed = False

    async def put(self, key: str, data: bytes | AsyncIterable[bytes] | Path) -> int:
        """See `BlobStore.put`."""
        self._begin("put", check_key(key))
        if isinstance(data, Path):
            content = await asyncio.to_thread(data.read_bytes)
        elif isinstance(data, bytes):
            content = data
        else:
            content = b"".join([piece async for piece in data])
        if self._capacity is not None and sum(map(len, self.blobs.values())) + len(content) > self._capacity:
            raise NoSpace("the blob store in memory is full")
        self.blobs[key] = content
        self.modified_us[key] = time.time_ns() // 1000
        return len(content)

    async def get(self, key: str) -> bytes:
        """See `BlobStore.get`."""
        self._begin("get", check_key(key))
        return self._find(key)

    async def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore.stream`."""
        self._begin("stream", check_key(key))
        end = None if length is None else offset + length
        size = len(self._find(key)[offset:end])
        for start in range(offset, offset + size, PIECE_BYTES):
            yield self._find(key)[start : min(start + PIECE_BYTES, offset + size)]
            await asyncio.sleep(0)

    async def size(self, key: str) -> int:
        """See `BlobStore.size`."""
        self._begin("size", check_key(key))
        return len(self._find(key))

    async def delete(self, keys: Sequence[str]) -> None:
        """See `BlobStore.delete`."""
        for key in keys:
            self._begin("delete", check_key(key))
        for key in keys:
            self.blobs.pop(key, None)
            self.modified_us.pop(key, None)

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See `BlobStore.list`."""
        self._begin("list", check_key(prefix) if prefix else "")
        for key, content in tuple(self.blobs.items()):
            if not prefix or key.startswith(f"{prefix}/"):
                yield BlobInfo(key=key, size=len(content), modified_at_us=self.modified_us[key])

    async def tidy(self, older_than_s: float) -> int:
        """See `BlobStore.tidy`; nothing unfinished is ever left here."""
        self._begin("tidy", "")
        return 0

    async def close(self) -> None:
        """See `BlobStore.close`."""
        self._closed = True

    def _begin(self, method: str, key: str) -> None:
        self.calls.append((method, key))
        if self._closed:
            raise BlobError("the blob store is closed")
        if method in self.failing:
            raise BlobError(f"the blob store fails to {method}, as the test asked for")

    def _find(self, key: str) -> bytes:
        try:
            return self.blobs[key]
        except KeyError:
            raise NotFound("the stored file is no longer there", detail=key) from None
