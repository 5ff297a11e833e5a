"""The rows of jobs: found by id, and deleted with all that is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from emberbox.store.records import JobRecord
from emberbox.store.tables import artifacts, attempts, idempotency, jobs, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


async def find_job(connection: AsyncConnection, job_id: str) -> JobRecord | None:
    """Return a job as its row says it is; None when there is none."""
    row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).mappings().first()
    return None if row is None else JobRecord.from_row(row)


async def delete_jobs(connection: AsyncConnection, job_ids: Sequence[str]) -> list[str]:
    """Delete jobs that have ended, within the caller's transaction. News of them stays.

    Returns:
        The keys of their blobs, to be deleted after the commit.
    """
    logs = select(results.c.log_key).where(results.c.job_id.in_(job_ids), results.c.log_key.is_not(None))
    kept = select(artifacts.c.blob_key).where(artifacts.c.job_id.in_(job_ids))
    blob_keys: list[Any] = [
        *(await connection.execute(logs)).scalars(),
        *(await connection.execute(kept)).scalars(),
    ]
    for table in (artifacts, results, attempts, idempotency):
        await connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))
    await connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))
    return blob_keys
