"""The rows of jobs: found by id, and deleted with all that is theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, func, select

from emberbox.service.accounts.holdings import Refund
from emberbox.store.records import JobRecord
from emberbox.store.tables import artifacts, attempts, idempotency, jobs, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


async def find_job(connection: AsyncConnection, job_id: str) -> JobRecord | None:
    """Return a job as its row says it is; None when there is none."""
    row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).mappings().first()
    return None if row is None else JobRecord.from_row(row)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is to be deleted after the commit: blobs by their keys, contents that no team holds any more."""

    blob_keys: list[str]
    loose: list[str]


async def delete_jobs(connection: AsyncConnection, job_ids: Sequence[str]) -> Deleted:
    """Delete jobs that have ended, within the caller's transaction, and give their bytes back.

    News of them stays.
    """
    logs = select(results.c.log_key).where(results.c.job_id.in_(job_ids), results.c.log_key.is_not(None))
    kept = select(artifacts.c.blob_key).where(artifacts.c.job_id.in_(job_ids))
    blob_keys: list[Any] = [
        *(await connection.execute(logs)).scalars(),
        *(await connection.execute(kept)).scalars(),
    ]
    for table in (artifacts, results, attempts, idempotency):
        await connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))
    gone = delete(jobs).where(jobs.c.id.in_(job_ids)).returning(*_CHARGED)
    refund = Refund()
    for row in (await connection.execute(gone)).all():
        refund.add(row, (row.content_sha, row.files_sha, row.stdin_sha), row.storage_bytes)
    return Deleted(blob_keys, await refund.write(connection))


def log_bytes() -> ColumnElement[int]:
    """Return what a row of `results` stores of a log: the log, and the streams' beginnings beside it."""
    stdout, stderr = (func.coalesce(func.length(results.c[name]), 0) for name in ("stdout", "stderr"))
    return results.c.log_bytes + stdout + stderr


_CHARGED = tuple(
    jobs.c[name] for name in ("team_id", "key_id", "storage_bytes", "content_sha", "files_sha", "stdin_sha")
)
