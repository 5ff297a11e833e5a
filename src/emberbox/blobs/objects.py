"""A blob store over an object store of the library obstore.

Its blocking calls are made in threads of the store's own. The asynchronous ones of the library are not used: they let threads
call into an interpreter that is on its way out, which aborts the process, when a stream is left or a put is cancelled.
"""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError

from emberbox.blobs.base import PIECE_BYTES, BlobInfo, check_key
from emberbox.errors import BlobError, EmberboxError, NoSpace, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence

    from obstore import ObjectMeta, WritableFile
    from obstore.store import ObjectStore

_T = TypeVar("_T")

PART_BYTES = 8 * 1024 * 1024
"""Size of the parts in which large blobs are sent; S3 takes 10,000 of them."""
_PARTS_AT_ONCE = 2
_BATCH_BYTES = 1024 * 1024
_LISTED_AT_ONCE = 1000
_DELETED_AT_ONCE = 1000
_NO_SPACE = ("No space left on device", "Disk quota exceeded", f"os error {errno.ENOSPC})", "QuotaExceeded", "XMinioStorageFull")


class ObjectBlobs:
    """Implements `BlobStore` for any object store.

    Args:
        store: Where the blobs lie.
        threads: Calls that are under way at once; more wait for their turn.
    """

    def __init__(self, store: ObjectStore, *, threads: int = 8) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._closed = False

    async def put(self, key: str, data: bytes | AsyncIterable[bytes] | Path) -> int:
        """See `BlobStore.put`."""
        check_key(key)
        if isinstance(data, bytes):
            await self._call(self._put_bytes, key, data)
            return len(data)
        if isinstance(data, Path):
            return await self._call(self._put_path, key, data)
        return await self._put_stream(key, data)

    async def get(self, key: str) -> bytes:
        """See `BlobStore.get`."""
        return await self._call(lambda: bytes(self._store.get(check_key(key)).bytes()))

    async def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore.stream`."""
        size = await self.size(key)
        end = size if length is None else min(size, offset + length)
        for start in range(offset, end, PIECE_BYTES):
            yield await self._call(self._piece, key, start, min(end, start + PIECE_BYTES))

    async def size(self, key: str) -> int:
        """See `BlobStore.size`."""
        return await self._call(lambda: int(self._store.head(check_key(key))["size"]))

    async def delete(self, keys: Sequence[str]) -> None:
        """See `BlobStore.delete`."""
        for key in keys:
            check_key(key)
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            await self._call(self._delete, keys[start : start + _DELETED_AT_ONCE])

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See `BlobStore.list`."""
        within = check_key(prefix) if prefix else None
        pages = await self._call(lambda: iter(self._store.list(within, chunk_size=_LISTED_AT_ONCE)))
        while (page := await self._call(lambda: next(pages, None))) is not None:
            for meta in page:
                yield _info(meta)

    async def tidy(self, older_than_s: float) -> int:
        """See `BlobStore.tidy`. Here the store itself forgets what was never finished."""
        return 0

    async def close(self) -> None:
        """See `BlobStore.close`."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _settle(self, key: str) -> None:
        """Bring a blob that was just put onto stable storage. Called in a thread; a server does it by itself."""

    def _put_bytes(self, key: str, data: bytes) -> None:
        self._store.put(key, data, use_multipart=len(data) > PART_BYTES, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
        self._settle(key)

    def _put_path(self, key: str, path: Path) -> int:
        size = 0
        with path.open("rb") as source:
            writer = self._writer(key)
            while piece := source.read(_BATCH_BYTES):
                size += writer.write(piece)
        self._finish(writer, key)
        return size

    async def _put_stream(self, key: str, pieces: AsyncIterable[bytes]) -> int:
        writer = await self._call(self._writer, key)
        size, batch = 0, bytearray()
        async for piece in pieces:
            batch += piece
            if len(batch) >= _BATCH_BYTES:
                size += await self._call(writer.write, bytes(batch))
                batch.clear()
        if batch:
            size += await self._call(writer.write, bytes(batch))
        await self._call(self._finish, writer, key)
        return size

    def _writer(self, key: str) -> WritableFile:
        # A writer that is dropped before its close takes what it wrote with it.
        return obstore.open_writer(self._store, key, buffer_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def _finish(self, writer: WritableFile, key: str) -> None:
        writer.close()
        self._settle(key)

    def _piece(self, key: str, start: int, end: int) -> bytes:
        piece = bytes(self._store.get_range(key, start=start, end=end))
        if len(piece) != end - start:
            raise BlobError("a stored file is shorter than it was; it cannot be read", detail=key)
        return piece

    def _delete(self, keys: Sequence[str]) -> None:
        try:
            self._store.delete(list(keys))
        except FileNotFoundError:
            for key in keys:
                self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        try:
            self._store.delete(key)
        except FileNotFoundError:
            return

    async def _call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        def mapped() -> _T:
            with _mapped():
                return work(*arguments)

        if self._closed:
            raise BlobError("the blob store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, mapped)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except EmberboxError:
        raise
    except FileNotFoundError as error:
        raise NotFound("the stored file is no longer there", detail=str(error)) from error
    except (BaseError, OSError, ValueError) as error:
        text = str(error)
        if any(sign in text for sign in _NO_SPACE) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                "the disk of the blob store is full; free some space, or let retention delete more", detail=text
            ) from error
        raise BlobError("the blob store failed or cannot be reached; try again", detail=text) from error


def _info(meta: ObjectMeta) -> BlobInfo:
    return BlobInfo(key=meta["path"], size=meta["size"], modified_at_us=int(meta["last_modified"].timestamp() * 1_000_000))
