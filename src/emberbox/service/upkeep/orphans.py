"""Finds what a killed process left: blobs without a row, halves of blobs, folders of uploads."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, select

from emberbox.service.uploads.intake import UPLOADS
from emberbox.store.database import Database, now_us
from emberbox.store.tables import artifacts, contents, results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emberbox.blobs import BlobStore

GRACE_S = 86_400.0
"""What is younger may belong to work that is under way; its row is still to come."""
_BATCH = 500
# For each first part of a key: the column that holds such keys, and the indexed column that the
# second part names.
_HOMES: dict[str, tuple[Column[Any], Column[Any]]] = {
    "contents": (contents.c.blob_key, contents.c.sha256),
    "artifacts": (artifacts.c.blob_key, artifacts.c.job_id),
    "logs": (results.c.log_key, results.c.job_id),
}


async def remove_orphan_blobs(db: Database, blobs: BlobStore) -> int:
    """Delete blobs older than a day that no row refers to; returns how many. May be cancelled and repeated.

    Raises:
        StoreError: The database failed.
        BlobError: The blob store failed.
    """
    before, removed = now_us() - int(GRACE_S * 1_000_000), 0
    for home in _HOMES:
        batch: list[str] = []
        async for info in blobs.list(home):
            if info.modified_at_us < before:
                batch.append(info.key)
            if len(batch) >= _BATCH:
                removed += await _remove_unused(db, blobs, home, batch)
                batch = []
        removed += await _remove_unused(db, blobs, home, batch)
    return removed


async def _remove_unused(db: Database, blobs: BlobStore, home: str, keys: Sequence[str]) -> int:
    if not keys:
        return 0
    key_column, owner_column = _HOMES[home]
    owners = {key.split("/")[1] for key in keys}
    found = await db.rows(select(key_column.label("key")).where(owner_column.in_(owners)))
    used = {row["key"] for row in found}
    unused = [key for key in keys if key not in used]
    await blobs.delete(unused)
    return len(unused)


async def remove_old_uploads(data: Path) -> int:
    """Remove folders of uploads that were begun more than a day ago; returns how many."""
    return await asyncio.to_thread(_remove_old_uploads, data / UPLOADS, time.time() - GRACE_S)


def _remove_old_uploads(folder: Path, before: float) -> int:
    if not folder.is_dir():
        return 0
    old = [entry for entry in folder.iterdir() if entry.lstat().st_mtime < before]
    for entry in old:
        shutil.rmtree(entry, ignore_errors=True)
    return len(old)
