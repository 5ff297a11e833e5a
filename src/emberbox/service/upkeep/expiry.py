"""Deletes rows by age, in transactions that are short, and tells which blobs went with them.

Every step takes at most `BATCH` rows and may be repeated until it finds fewer. Rows go first and
blobs afterwards: what a crash leaves between the two is a blob without a row, which
`emberbox.service.upkeep.orphans` finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, or_, select, update

from emberbox.service.accounts.holdings import Refund
from emberbox.service.jobs.rows import delete_jobs, log_bytes
from emberbox.service.uploads.contents import delete_contents, remove_unheld
from emberbox.service.uploads.script_rows import delete_scripts
from emberbox.store.tables import artifacts, contents, deliveries, idempotency, jobs, results, scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store.database import Database

BATCH = 200
"""Rows of one transaction."""
_TEXTS = ("log", "log_key", "stdout", "stderr", "compile_output")


@dataclass(frozen=True, slots=True)
class Expired:
    """What one step deleted: how many rows of its own kind, and blobs that nothing refers to any more."""

    rows: int
    blob_keys: list[str] = field(default_factory=list)


async def expire_jobs(db: Database, before: int) -> Expired:
    """Delete jobs that ended before a time (in microseconds), with all that is theirs."""
    old = select(jobs.c.id).where(jobs.c.finished_at < before).order_by(jobs.c.finished_at)
    async with db.writing() as connection:
        ids = await _ids(connection, old)
        if not ids:
            return Expired(0)
        await connection.execute(delete(deliveries).where(deliveries.c.job_id.in_(ids)))
        deleted = await delete_jobs(connection, ids)
    return Expired(len(ids), deleted.blob_keys + await remove_unheld(db, deleted.loose))


async def expire_logs(db: Database, after: tuple[int, str], before: int) -> tuple[Expired, tuple[int, str]]:
    """Delete logs of jobs that ended before a time; their results stay.

    Args:
        db: The database.
        after: Where the step before stopped: time and id of its last job; (0, "") at the beginning.
        before: The time, in microseconds.

    Returns:
        What was deleted, and where the next step goes on.
    """
    columns = (jobs.c.finished_at, jobs.c.id, results.c.log_key)
    later = or_(jobs.c.finished_at > after[0], and_(jobs.c.finished_at == after[0], jobs.c.id > after[1]))
    query = (
        select(*columns)
        .join(results, results.c.job_id == jobs.c.id)
        .where(jobs.c.finished_at < before, jobs.c.finished_at >= after[0], later, _has_log())
        .order_by(jobs.c.finished_at, jobs.c.id)
        .limit(BATCH)
    )
    found = await db.rows(query)
    if not found:
        return Expired(0), after
    ids = [row["id"] for row in found]
    async with db.writing() as connection:
        size = select(log_bytes()).where(results.c.job_id == jobs.c.id, _has_log()).scalar_subquery()
        await _shrink(connection, ids, size)
        empty = dict.fromkeys(_TEXTS)
        await connection.execute(update(results).where(results.c.job_id.in_(ids)).values(**empty))
    stopped = (found[-1]["finished_at"], ids[-1])
    return Expired(len(ids), [row["log_key"] for row in found if row["log_key"]]), stopped


async def expire_artifacts(db: Database, before: int) -> Expired:
    """Delete artifacts that were kept before a time."""
    async with db.writing() as connection:
        query = select(artifacts.c.id, artifacts.c.job_id, artifacts.c.blob_key).where(
            artifacts.c.created_at < before
        )
        found = (await connection.execute(query.order_by(artifacts.c.created_at).limit(BATCH))).all()
        if not found:
            return Expired(0)
        ids = [row.id for row in found]
        size = (
            select(func.sum(artifacts.c.size))
            .where(artifacts.c.job_id == jobs.c.id, artifacts.c.id.in_(ids))
            .scalar_subquery()
        )
        await _shrink(connection, sorted({row.job_id for row in found}), size)
        await connection.execute(delete(artifacts).where(artifacts.c.id.in_(ids)))
    return Expired(len(ids), [row.blob_key for row in found])


async def expire_scripts(db: Database, before: int) -> Expired:
    """Delete scripts that were uploaded before a time. Their jobs stay."""
    some = select(scripts.c.id).where(scripts.c.created_at < before).limit(BATCH)
    async with db.writing() as connection:
        deleted = await delete_scripts(connection, scripts.c.id.in_(some))
    return Expired(deleted.count, await remove_unheld(db, deleted.loose))


async def expire_deliveries(db: Database, before: int) -> Expired:
    """Delete deliveries that ended before a time."""
    ended = and_(deliveries.c.created_at < before, deliveries.c.finished_at < before)
    return await _expire(db, deliveries, deliveries.c.id, ended)


async def expire_idempotency(db: Database, before: int) -> Expired:
    """Forget which keys of requests were used before a time."""
    # They have no ids: those of one moment go together.
    return await _expire(db, idempotency, idempotency.c.created_at, idempotency.c.created_at < before)


async def expire_contents(db: Database, before: int) -> Expired:
    """Delete contents that were stored before a time, and that nothing refers to."""
    needed = (exists().where(column == contents.c.sha256) for column in _REFERENCES)
    unused = and_(contents.c.touched_at < before, *(~used for used in needed))
    # More at once than elsewhere: each search passes over all that is old and in use.
    old = select(contents.c.sha256).where(unused)
    ids = await db.read(lambda connection: _ids(connection, old, 5 * BATCH))
    rows, blob_keys = 0, []
    for start in range(0, len(ids), BATCH):
        deleted = await delete_contents(db, and_(contents.c.sha256.in_(ids[start : start + BATCH]), unused))
        rows += len(deleted)
        blob_keys += [key for key in deleted if key]
    return Expired(rows, blob_keys)


_REFERENCES = (scripts.c.content_sha, jobs.c.content_sha, jobs.c.files_sha, jobs.c.stdin_sha)


def _has_log() -> ColumnElement[bool]:
    return or_(*(results.c[name].is_not(None) for name in _TEXTS))


async def _ids(connection: AsyncConnection, query: Any, limit: int = BATCH) -> Sequence[Any]:
    return (await connection.execute(query.limit(limit))).scalars().all()


async def _shrink(connection: AsyncConnection, job_ids: Sequence[str], size: Any) -> None:
    """Give back bytes of jobs to those who stored them."""
    these = jobs.c.id.in_(job_ids)
    refund = Refund()
    sized = select(jobs.c.team_id, jobs.c.key_id, size.label("freed")).where(these)
    for row in await connection.execute(sized):
        refund.add(row, freed=row.freed or 0)
    left = jobs.c.storage_bytes - func.coalesce(size, 0)
    await connection.execute(update(jobs).where(these).values(storage_bytes=left))
    await refund.write(connection)


async def _expire(
    db: Database, table: Table, key: ColumnElement[Any], condition: ColumnElement[bool]
) -> Expired:
    some = select(key).where(condition).limit(BATCH)
    return Expired(await db.change(delete(table).where(key.in_(some))))
