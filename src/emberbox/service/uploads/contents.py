"""What was uploaded, stored once however often it comes.

Small contents lie in their row, others in the blob store under a key that is fresh each time: a
sweeper that deletes what an old row referred to can never hit what a new upload has just stored.

A content is planned first: counted and hashed, and nothing is stored. Its row is written in the
transaction that makes a script or a job refer to it, and goes when nothing refers to it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, delete, exists, select
from sqlalchemy.exc import IntegrityError

from emberbox.errors import BlobError, EmberboxError, NotFound
from emberbox.service.recent import Recent
from emberbox.service.uploads.bundles import BundleFile, Plan, PlannedFile, plan
from emberbox.store.database import Database, now_us
from emberbox.store.records import ContentRecord
from emberbox.store.tables import contents as table
from emberbox.store.tables import held_contents
from emberbox.store.upserts import unless_there
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.blobs import BlobStore

_log = logging.getLogger(__name__)

INLINE_BYTES = 64 * 1024
"""Up to this size a content lies in its row."""
KEPT_US = 3_600_000_000
"""How long a content that nothing refers to is kept after it was stored, in microseconds: such a one
is what a killed process left."""
_RECENT_BYTES = 8192
_RECENT = 256
_QUICK_BYTES = 256 * 1024
_QUICK_FILES = 100
_BATCH_BYTES = 1024 * 1024


class Contents:
    """Stores uploaded files and hands them out.

    A content's `sha256` is over the names, modes and bytes of its files together; the hash of each
    file alone is in its entry. `size` counts the stored form: the file, or the archive.
    """

    def __init__(self, db: Database, blobs: BlobStore) -> None:
        self._db = db
        self._blobs = blobs
        self._recent: Recent[str, ContentRecord] = Recent(_RECENT)

    async def plan_file(self, name: str, source: bytes | Path, *, mode: int = 0o644) -> Plan:
        """Count and hash one file that will be stored as it is. Nothing is stored.

        Raises:
            InvalidPath: `name` is no relative path.
        """
        return await _planned("file", [BundleFile(name, source, mode)])

    async def plan_bundle(self, files: Sequence[BundleFile]) -> Plan:
        """Count and hash files that will be stored together as an archive, also if it is one alone.

        Raises:
            InvalidPath: A path cannot be used, is there twice, or is file and folder at once.
        """
        return await _planned("bundle", files)

    @contextlib.asynccontextmanager
    async def prepared(self, plans: Sequence[Plan]) -> AsyncIterator[list[NewContent]]:
        """Put the bytes of large contents where they stay; within the block their rows are written.

        `insert_contents` does that. Those that no row refers to at the end of the block are deleted.
        May be cancelled and repeated.

        Raises:
            NoSpace: The disk is full; nothing was stored.
            StoreError: The database failed.
            BlobError: The blob store failed.
        """
        made: list[NewContent] = []
        try:
            for planned in plans:
                made.append(await self._prepare(planned))  # noqa: PERF401  what a failure leaves is discarded
            yield made
        except BaseException:
            await shielded(self._discard_unused(made))
            raise
        await shielded(self._discard_unused(made))
        self._remember(made)

    async def _prepare(self, planned: Plan) -> NewContent:
        if planned.size <= INLINE_BYTES:
            quick = _is_quick(planned.files)
            data = _join(planned) if quick else await asyncio.to_thread(_join, planned)
            return NewContent(planned, data, None)
        if await self._db.row(select(table.c.sha256).where(table.c.sha256 == planned.sha256)) is not None:
            return NewContent(planned, None, None)
        blob_key = f"contents/{planned.sha256}/{secrets.token_hex(16)}"
        await self._blobs.put(blob_key, _batches(planned))
        return NewContent(planned, None, blob_key)

    async def _discard_unused(self, made: Sequence[NewContent]) -> None:
        keys = [content.blob_key for content in made if content.blob_key is not None]
        if not keys:
            return
        try:
            rows = await self._db.rows(select(table.c.blob_key).where(table.c.blob_key.in_(keys)))
            used = {row["blob_key"] for row in rows}
            await self._blobs.delete([key for key in keys if key not in used])
        except EmberboxError as error:
            # What stays is found by the sweeper.
            facts = {"action": "contents.discard_failed"}
            _log.warning("contents that were refused could not be deleted: %s", error, extra=facts)

    def _remember(self, made: Sequence[NewContent]) -> None:
        for content in made:
            if content.data is not None and content.plan.size <= _RECENT_BYTES:
                self._recent[content.plan.sha256] = content.record

    async def remove_unheld(self, digests: Sequence[str]) -> None:
        """Delete those of the contents that no team holds any more. Repeating is harmless.

        Raises `StoreError` or `BlobError`: what stays is found by the sweeper.
        """
        if digests:
            await self._blobs.delete(await remove_unheld(self._db, digests))

    async def get(self, sha256: str) -> ContentRecord:
        """Return a content. Raises `NotFound`."""
        if (recent := self._recent.get(sha256)) is not None:
            return recent
        row = await self._db.row(select(table).where(table.c.sha256 == sha256))
        if row is None:
            raise NotFound("the uploaded content is no longer there")
        return ContentRecord.from_row(row)

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


@dataclass(frozen=True, slots=True)
class NewContent:
    """A content whose row is about to be written, unless it is there.

    Its bytes lie in `data`, or under `blob_key`. Both are None for a large one that was there when it
    was looked for.
    """

    plan: Plan
    data: bytes | None
    blob_key: str | None

    @property
    def record(self) -> ContentRecord:
        """The row."""
        return ContentRecord(
            sha256=self.plan.sha256,
            kind=self.plan.kind,
            size=self.plan.size,
            entries=self.plan.entries,
            data=self.data,
            blob_key=self.blob_key,
        )


async def insert_contents(connection: AsyncConnection, made: Sequence[NewContent]) -> None:
    """Write the rows of contents that are not there, within the caller's transaction.

    One that was there when it was prepared, and was deleted since, has no row then: what refers to it
    raises `IntegrityError`, and all of it is to be tried again.
    """
    now = now_us()
    rows = [
        {**content.record.to_row(), "touched_at": now}
        for content in made
        if content.data is not None or content.blob_key is not None
    ]
    if rows:
        await connection.execute(_INSERT[connection.dialect.name], rows)


_INSERT = unless_there(table)


async def remove_unheld(db: Database, digests: Sequence[str]) -> list[str]:
    """Delete the rows of those contents that no team holds any more; returns the keys of their blobs."""
    held = exists().where(held_contents.c.sha256 == table.c.sha256)
    deleted = await delete_contents(db, and_(table.c.sha256.in_(digests), ~held))
    return [key for key in deleted if key]


async def delete_contents(db: Database, condition: ColumnElement[bool]) -> list[str | None]:
    """Delete the rows of contents; returns the key of each one's blob, None for one that lay in its row.

    Where something comes to refer to one of them at this moment, none is deleted: the sweeper looks again.
    """
    try:
        rows = await db.changed(delete(table).where(condition).returning(table.c.blob_key))
    except IntegrityError:
        return []
    return [row["blob_key"] for row in rows]


def _is_quick(files: Sequence[BundleFile] | Sequence[PlannedFile]) -> bool:
    """Tell whether so little is to be read that it is not worth a trip to another thread."""
    sizes = (len(f.source) if isinstance(f.source, bytes) else _QUICK_BYTES for f in files)
    return len(files) < _QUICK_FILES and sum(sizes) < _QUICK_BYTES


async def _planned(kind: str, files: Sequence[BundleFile]) -> Plan:
    return plan(kind, files) if _is_quick(files) else await asyncio.to_thread(plan, kind, files)


def _blob_key(content: ContentRecord) -> str:
    if content.blob_key is None:
        raise BlobError("a stored content has lost its bytes", detail=content.sha256)
    return content.blob_key


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
