"""The rows of jobs: found by id, and deleted with all that is theirs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, func, select

from emberbox.service.accounts.holdings import release
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
    gone = (
        delete(jobs).where(jobs.c.id.in_(job_ids)).returning(jobs.c.team_id, jobs.c.storage_bytes, *_DIGESTS)
    )
    uses: Counter[tuple[str, str]] = Counter()
    freed: Counter[str] = Counter()
    for team_id, size, *digests in (await connection.execute(gone)).all():
        freed[team_id] += size
        uses.update((team_id, digest) for digest in digests if digest is not None)
    return Deleted(blob_keys, await release(connection, uses, freed))


def log_bytes() -> ColumnElement[int]:
    """Return what a row of `results` stores of a log: the log, and the streams' beginnings beside it."""
    stdout, stderr = (func.coalesce(func.length(results.c[name]), 0) for name in ("stdout", "stderr"))
    return results.c.log_bytes + stdout + stderr


_DIGESTS = (jobs.c.content_sha, jobs.c.files_sha, jobs.c.stdin_sha)
