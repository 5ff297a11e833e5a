"""Jobs that were submitted: looked at, cancelled, deleted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping, select

from emberbox.errors import Conflict, NotFound
from emberbox.ids import is_id
from emberbox.service.jobs.logs.format import LogParser, Position
from emberbox.service.jobs.rows import delete_jobs, find_job
from emberbox.service.jobs.running.live import JobOutput, LiveJobs, output_of
from emberbox.service.ownership import listed, reaches
from emberbox.store.records import JobRecord, KeyRecord, Record
from emberbox.store.tables import attempts, jobs, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.blobs import BlobStore
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.endings import Endings
    from emberbox.service.jobs.running.held import HeldEnds
    from emberbox.service.uploads.contents import Contents
    from emberbox.store import Database


@dataclass(frozen=True, slots=True)
class AttemptRecord(Record):
    """A row of `attempts`."""

    attempt: int
    worker_id: str
    claimed_at: int
    ended_at: int
    outcome: str
    message: str | None


class Jobs:
    """All jobs, as the keys of their teams see them, and operators.

    Args:
        db: Their rows.
        blobs: Their large logs and artifacts.
        queue: Is told of those to be cancelled.
        endings: Ends those that wait.
        held: Tells of those whose attempt ended and could not be written down.
        live: Those that run here, or ended here a moment ago.
        contents: What they are made of.
    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        queue: JobQueue,
        endings: Endings,
        held: HeldEnds,
        live: LiveJobs,
        contents: Contents,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._queue = queue
        self._endings = endings
        self._held = held
        self._live = live
        self._contents = contents

    # -- looking ----------------------------------------------------------------------------------

    async def get(self, key: KeyRecord, job_id: str) -> JobRecord:
        """Return a job that this key reaches. Raises `NotFound`."""
        job = await self.find(job_id)
        if not reaches(key, job):
            raise _not_found(job_id)
        return job

    async def find(self, job_id: str) -> JobRecord:
        """Return a job, whosever it is. Raises `NotFound`."""
        if (recent := self._live.recent.get(job_id)) is not None:
            return recent[0]
        if is_id(job_id, "job"):
            job = await self._db.read(lambda connection: find_job(connection, job_id))
            if job is not None:
                return self._as_it_is(job)
        raise _not_found(job_id)

    def _as_it_is(self, job: JobRecord) -> JobRecord:
        """Add what no row tells: when the program began, what is made ready for it, that its end waits."""
        if job.status != "running":
            return job
        message = self._held.told_of(job) or job.message
        live = self._live.get(job.id)
        if live is None:
            return replace(job, message=message)
        return replace(job, started_at=live.started_at, progress=live.log.progress, message=message)

    async def list(
        self,
        key: KeyRecord,
        *,
        team: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        status: str | None = None,
        runtime: str | None = None,
        script_id: str | None = None,
        label: tuple[str, str] | None = None,
    ) -> tuple[list[JobRecord], str | None]:
        """Return a page of a team's jobs, newest first, and the cursor of the next page.

        Args:
            key: The caller's.
            team: As `team_of_list` takes it.
            cursor: Where the page begins.
            limit: Most of one page.
            status: Those in this state alone.
            runtime: Those of this runtime alone.
            script_id: Those of this script alone.
            label: Those with this label and value alone.

        Raises:
            NotAllowed: The key may not see that team's.
            InvalidInput: `cursor` is none of this list, or `team` no team's id.
        """
        filters = ((jobs.c.status, status), (jobs.c.runtime, runtime), (jobs.c.script_id, script_id))
        query = select(jobs).where(listed(key, jobs, team))
        query = query.where(*(column == value for column, value in filters if value is not None))
        if label is not None:
            query = query.where(jobs.c.labels[label[0]].as_string() == label[1])
        return await self._db.page(
            query,
            jobs.c.id,
            lambda row: self._as_it_is(JobRecord.from_row(row)),
            cursor,
            limit,
            prefix="job",
        )

    async def output(self, job: JobRecord) -> JobOutput:
        """Return the beginnings of what a job wrote; empty until it has ended."""
        if (recent := self._live.recent.get(job.id)) is not None:
            return recent[1]
        query = select(results).where(results.c.job_id == job.id)
        row = await self._db.row(query)
        return output_of(job) if row is None else _stored_output(job, row)

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return how a job's attempts ended, first one first."""
        query = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
        return [AttemptRecord.from_row(row) for row in await self._db.rows(query)]

    # -- ending -----------------------------------------------------------------------------------

    async def cancel(self, key: KeyRecord, job_id: str) -> JobRecord:
        """Cancel a job: one that waits never starts, one that runs is ended soon. Repeating is harmless.

        Raises:
            NotFound: This key reaches no such job.
            Conflict: It has ended otherwise.
        """
        await self.get(key, job_id)
        if (done := await self._endings.end_queued(job_id)) is not None:
            return done
        job = await self._queue.request_cancel(job_id)
        if job is None:
            raise _not_found(job_id)
        if job.status == "queued":
            # It was handed back at this very moment.
            return await self._endings.end_queued(job_id) or await self.get(key, job_id)
        if job.terminal and job.status != "cancelled":
            raise Conflict(f"the job has ended already: {job.status}")
        if not job.terminal:
            self._live.cancel(job_id)
        return job

    async def delete(self, key: KeyRecord, job_id: str) -> None:
        """Delete a job that has ended, with its log and its artifacts.

        Raises `NotFound`, or `Conflict` while it has not.
        """
        job = await self.get(key, job_id)
        if not job.terminal:
            raise Conflict("the job has not ended; cancel it first")
        self._live.recent.pop(job_id, None)
        async with self._db.writing() as connection:
            deleted = await delete_jobs(connection, [job_id])
        await self._blobs.delete(deleted.blob_keys)
        await self._contents.remove_unheld(deleted.loose)


def _not_found(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id[:64]!r}")


def _stored_output(job: JobRecord, row: RowMapping) -> JobOutput:
    compiled = row["compile"] and {**row["compile"], **(row["compile_output"] or {})}
    if row["log"] is None:
        return output_of(job, row["stdout"] or b"", row["stderr"] or b"", compiled)
    streams = {"stdout": bytearray(), "stderr": bytearray()}
    for record in LogParser(Position(row["attempt"], 0)).feed(row["log"]):
        streams[record.stream] += record.data
    return output_of(job, bytes(streams["stdout"]), bytes(streams["stderr"]), compiled)
