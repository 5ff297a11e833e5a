"""A blob store over an object store of the library obstore.

Its blocking calls are made in threads of the store's own. The asynchronous ones of the library are
not used: they let threads call into an interpreter that is on its way out, which aborts the
process, when a stream is left or a put is cancelled.
"""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import obstore
from obstore.exceptions import BaseError, GenericError

from emberbox.blobs.base import PIECE_BYTES, BlobInfo, check_key
from emberbox.errors import BlobError, EmberboxError, NoSpace, NotFound
from emberbox.files.disk import is_full

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence

    from obstore import ObjectMeta, WritableFile
    from obstore.store import ObjectStore

_T = TypeVar("_T")

PART_BYTES = 8 * 1024 * 1024
"""Size of the parts in which large blobs are sent; S3 takes 10,000 of them."""
_PARTS_AT_ONCE = 2
# Calls that are under way at once; more wait for their turn.
_THREADS = 8
_BATCH_BYTES = 1024 * 1024
_LISTED_AT_ONCE = 1000
_DELETED_AT_ONCE = 1000
_NO_SPACE = (
    "No space left on device",
    "Disk quota exceeded",
    f"os error {errno.ENOSPC})",
    "QuotaExceeded",
    "XMinioStorageFull",
)
_NO_BUCKET = "NoSuchBucket"
_REFUSED = ("status code: 401", "status code: 403")
_NO_RANGES = "non-partial response"


class ObjectBlobs:
    """Implements `BlobStore` for any object store.

    Args:
        store: Where the blobs lie.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
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
        start = offset
        while start < end:
            piece = await self._call(self._piece, key, start, min(end, start + PIECE_BYTES), size)
            if piece is None:
                break
            yield piece
            start += len(piece)
        async with aclosing(self._without_ranges(key, start, end)) as pieces:
            async for piece in pieces:
                yield piece

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
        """Bring a blob that was just put onto stable storage.

        Called in a thread; a server does it by itself.
        """

    def _put_bytes(self, key: str, data: bytes) -> None:
        self._store.put(
            key,
            data,
            use_multipart=len(data) > PART_BYTES,
            chunk_size=PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
        )
        self._settle(key)

    def _put_path(self, key: str, path: Path) -> int:
        size = 0
        with path.open("rb") as source, _Writing(self._writer(key)) as writing:
            while piece := source.read(_BATCH_BYTES):
                size += writing.write(piece)
            writing.finish()
        self._settle(key)
        return size

    async def _put_stream(self, key: str, pieces: AsyncIterable[bytes]) -> int:
        size, batch = 0, bytearray()
        with _Writing(await self._call(self._writer, key)) as writing:
            async for piece in pieces:
                batch += piece
                if len(batch) >= _BATCH_BYTES:
                    size += await self._call(writing.write, bytes(batch))
                    batch.clear()
            size += await self._call(writing.write, bytes(batch)) if batch else 0
            await self._call(writing.finish)
        await self._call(self._settle, key)
        return size

    def _writer(self, key: str) -> WritableFile:
        return obstore.open_writer(self._store, key, buffer_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def _piece(self, key: str, start: int, end: int, size: int) -> bytes | None:
        """Read a part; None from a server that does not mark its answers as parts."""
        if start == 0 and end == size:
            return bytes(self._store.get(key).bytes())
        try:
            piece = bytes(self._store.get_range(key, start=start, end=end))
        except GenericError as error:
            if _NO_RANGES in str(error):
                return None
            raise
        if len(piece) != end - start:
            raise BlobError("a stored file is shorter than it was; it cannot be read", detail=key)
        return piece

    async def _without_ranges(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        chunks = await self._call(lambda: iter(self._store.get(key).stream(min_chunk_size=_BATCH_BYTES)))
        position = 0
        while position < end and (chunk := await self._call(lambda: next(chunks, None))) is not None:
            if piece := bytes(chunk[max(start - position, 0) : end - position]):
                yield piece
            position += len(chunk)

    def _delete(self, keys: Sequence[str]) -> None:
        try:
            self._store.delete(list(keys))
        except FileNotFoundError:
            for key in keys:
                with suppress(FileNotFoundError):
                    self._store.delete(key)

    async def _call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        def explained() -> _T:
            try:
                return work(*arguments)
            except EmberboxError:
                raise
            except (BaseError, OSError, ValueError) as error:
                raise _explained(error) from error

        if self._closed:
            raise BlobError("the blob store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, explained)


class _Writing:
    """Holds the one reference to a writer. One that is dropped before its close takes what it wrote with it.

    Were the writer a variable, the traceback of a failure would keep it, and with it the disk's space.
    """

    def __init__(self, writer: WritableFile) -> None:
        self._writer: WritableFile | None = writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer = None

    def write(self, data: bytes) -> int:
        if self._writer is None:
            raise BlobError("the writing was given up")
        return self._writer.write(data)

    def finish(self) -> None:
        if self._writer is None:
            raise BlobError("the writing was given up")
        self._writer.close()


def _explained(error: Exception) -> EmberboxError:
    text = str(error)
    kind: type[EmberboxError] = BlobError
    if _NO_BUCKET in text:
        message = "the bucket of the blob store does not exist; make it, or mend blobs.url"
    elif isinstance(error, FileNotFoundError):
        kind, message = NotFound, "the stored file is no longer there"
    elif any(sign in text for sign in _REFUSED):
        message = "the blob store refuses access; check the credentials of the service, and what they may do"
    elif any(sign in text for sign in _NO_SPACE) or is_full(error):
        kind = NoSpace
        message = "the disk of the blob store is full; free some space, or let retention delete more"
    else:
        message = "the blob store failed or cannot be reached; try again"
    return kind(message, detail=text)


def _info(meta: ObjectMeta) -> BlobInfo:
    return BlobInfo(
        key=meta["path"], size=meta["size"], modified_at_us=int(meta["last_modified"].timestamp() * 1_000_000)
    )
