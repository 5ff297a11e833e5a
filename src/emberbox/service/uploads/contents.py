"""What was uploaded, stored once however often it comes.

Small contents lie in their row, others in the blob store under a key that is fresh each time: a
sweeper that deletes what an old row referred to can never hit what a new upload has just stored.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from emberbox.errors import BlobError, NotFound
from emberbox.service.uploads.bundles import BundleFile, Plan, plan
from emberbox.store.database import now_us
from emberbox.store.records import ContentRecord
from emberbox.store.tables import contents as table

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from emberbox.blobs import BlobStore
    from emberbox.store.database import Database

__all__ = ["BundleFile", "Contents"]

INLINE_BYTES = 64 * 1024
"""Up to this size a content lies in its row."""
KEPT_US = 3_600_000_000
"""How long a content that nothing refers to is kept after it was last asked for, in microseconds."""
_FRESH_US = KEPT_US // 6
_RECENT_S = 300.0
_RECENT_BYTES = 8192
_RECENT = 256
_QUICK_BYTES = 256 * 1024
_BATCH_BYTES = 1024 * 1024
_FIELDS = ("sha256", "kind", "size", "entries", "data", "blob_key")


class Contents:
    """Stores uploaded files and hands them out.

    A content's `sha256` is over the names, modes and bytes of its files together; the hash of each
    file alone is in its entry. `size` counts the stored form: the file, or the archive.
    """

    def __init__(self, db: Database, blobs: BlobStore) -> None:
        self._db = db
        self._blobs = blobs
        self._recent: OrderedDict[str, tuple[float, ContentRecord]] = OrderedDict()

    async def put_file(self, name: str, source: bytes | Path, *, mode: int = 0o644) -> ContentRecord:
        """Store one file as it is. May be repeated and cancelled.

        What is stored, or was before, stays for an hour at least, so that a row can be made to refer to it.

        Raises:
            InvalidPath: `name` is no relative path.
            NoSpace: The disk is full; nothing was stored.
            StoreError: The database failed.
            BlobError: The blob store failed.
        """
        return await self._put("file", [BundleFile(name, source, mode)])

    async def put_bundle(self, files: Sequence[BundleFile]) -> ContentRecord:
        """Store files together as an archive; see `put_file`. One file alone makes an archive as well.

        Raises:
            InvalidPath: A path cannot be used, is there twice, or is file and folder at once.
        """
        return await self._put("bundle", files)

    async def get(self, sha256: str) -> ContentRecord:
        """Return a content. Raises `NotFound`."""
        if (recent := self._recent.get(sha256)) is not None:
            return recent[1]
        async with self._db.reading() as connection:
            record = _record((await connection.execute(_find(sha256))).mappings().first())
        if record is None:
            raise NotFound("the uploaded content is no longer there")
        return record

    def _remember(self, record: ContentRecord) -> None:
        """Remember a small content that was touched lately. It is not deleted for as long."""
        if record.data is not None and record.size <= _RECENT_BYTES:
            self._recent[record.sha256] = (time.monotonic() + _RECENT_S, record)
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    def stream(self, content: ContentRecord) -> AsyncGenerator[bytes, None]:
        """Yield the file, or the archive, in pieces. Raises `NotFound` when it was deleted meanwhile."""
        return self._range(content, 0, content.size)

    async def read(self, content: ContentRecord) -> bytes:
        """Return the file, or the archive, whole."""
        if content.data is not None:
            return content.data
        return await self._blobs.get(_blob_key(content))

    def stream_file(self, content: ContentRecord, path: str) -> AsyncGenerator[bytes, None]:
        """Yield one file of a content in pieces.

        Raises `NotFound` at once when it holds none of that path.
        """
        for entry in content.entries:
            if entry["path"] == path:
                return self._range(content, entry["offset"], entry["size"])
        raise NotFound(f"there is no file {path[:200]!r} here")

    async def _range(self, content: ContentRecord, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        if content.data is not None:
            if length:
                yield content.data[offset : offset + length]
            return
        async for piece in self._blobs.stream(_blob_key(content), offset=offset, length=length):
            yield piece

    async def _put(self, kind: str, files: Sequence[BundleFile]) -> ContentRecord:
        quick = (
            len(files) < 100
            and sum(len(f.source) if isinstance(f.source, bytes) else _QUICK_BYTES for f in files)
            < _QUICK_BYTES
        )
        made = plan(kind, files) if quick else await asyncio.to_thread(plan, kind, files)
        until, record = self._recent.get(made.sha256, (0.0, None))
        if record is not None and time.monotonic() < until:
            return record
        self._recent.pop(made.sha256, None)
        record = await self._known(made.sha256) or await self._store(made)
        self._remember(record)
        return record

    async def _known(self, sha256: str) -> ContentRecord | None:
        async with self._db.reading() as connection:
            row = (await connection.execute(_find(sha256))).mappings().first()
        if row is None or row["touched_at"] > now_us() - _FRESH_US:
            return _record(row)
        async with self._db.writing() as connection:
            touched = await connection.execute(
                update(table).where(table.c.sha256 == sha256).values(touched_at=now_us())
            )
        return _record(row) if touched.rowcount else None

    async def _store(self, made: Plan) -> ContentRecord:
        data, blob_key = None, None
        if made.size <= INLINE_BYTES:
            data = await asyncio.to_thread(_join, made) if _on_disk(made) else _join(made)
        else:
            blob_key = f"contents/{made.sha256}/{secrets.token_hex(16)}"
            await self._blobs.put(blob_key, _batches(made))
        record = ContentRecord(
            sha256=made.sha256,
            kind=made.kind,
            size=made.size,
            entries=made.entries,
            data=data,
            blob_key=blob_key,
        )
        return await self._insert(record)

    async def _insert(self, record: ContentRecord) -> ContentRecord:
        values = {name: getattr(record, name) for name in _FIELDS}
        try:
            async with self._db.writing() as connection:
                await connection.execute(insert(table).values(**values, touched_at=now_us()))
        except IntegrityError:
            # Another upload of the same was faster.
            if record.blob_key is not None:
                await self._blobs.delete([record.blob_key])
            return await self.get(record.sha256)
        return record


def _find(sha256: str) -> Any:
    return select(table).where(table.c.sha256 == sha256)


def _record(row: Any) -> ContentRecord | None:
    return None if row is None else ContentRecord(**{name: row[name] for name in _FIELDS})


def _blob_key(content: ContentRecord) -> str:
    if content.blob_key is None:
        raise BlobError("a stored content has lost its bytes", detail=content.sha256)
    return content.blob_key


def _on_disk(made: Plan) -> bool:
    return any(not isinstance(file.source, bytes) for file in made.files)


def _join(made: Plan) -> bytes:
    return b"".join(made.pieces())


async def _batches(made: Plan) -> AsyncGenerator[bytes, None]:
    pieces = made.pieces()
    while batch := await asyncio.to_thread(_batch, pieces):
        yield batch


def _batch(pieces: Iterator[bytes]) -> bytes:
    batch = bytearray()
    for piece in pieces:
        batch += piece
        if len(batch) >= _BATCH_BYTES:
            break
    return bytes(batch)
