"""Reading logs: of jobs that run, of jobs that ended, and from one into the other."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from sqlalchemy import RowMapping, select

from emberbox.errors import InvalidInput
from emberbox.service.jobs.logs.format import LogParser, LogRecord, Position, parse_position
from emberbox.service.jobs.logs.parts import part_of, tail
from emberbox.service.jobs.rows import find_job
from emberbox.store.tables import results
from emberbox.tasks import set_within

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractContextManager

    from emberbox.blobs import BlobStore
    from emberbox.service.jobs.logs.writer import LogWriter
    from emberbox.store import Database
    from emberbox.store.records import JobRecord

__all__ = ["AttemptBegan", "JobEnded", "LogRecord", "Logs"]

FOREIGN_S = 1.0
"""A job that runs in another process is looked at this often."""


RECORD_COST = 128
"""What a record costs besides its data, in bytes: a program that writes single bytes must not make
a page huge."""


@dataclass(frozen=True, slots=True)
class AttemptBegan:
    """The job is tried again and its log begins anew. `id` stands before its first record."""

    attempt: int
    id: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job has ended, and all of its log was read."""

    job: JobRecord


class LiveLogs(Protocol):
    """The logs of jobs that run in this process."""

    def log_of(self, job_id: str) -> LogWriter | None:
        """Return the log of a job's attempt that runs here; None when none does."""

    def watching(self, job_id: str) -> AbstractContextManager[asyncio.Event]:
        """Yield an event that is set whenever the job begins, ends or changes its state here."""


class _Reader:
    """Where somebody is who follows a log: in front of all of it at first, where `position` is None."""

    def __init__(self, position: Position | None) -> None:
        self.position = position

    def has_all_of(self, log: LogWriter) -> bool:
        """Return whether nothing more comes of this attempt."""
        return log.closed and self.position == Position(log.attempt, log.size)

    async def grown(self, log: LogWriter) -> AsyncIterator[LogRecord | AttemptBegan]:
        """Yield what grows until the attempt ends; or that it begins, which is the last thing then."""
        known = self.position
        offset = _within(known, log.attempt)
        if known is None or known.attempt != log.attempt:
            self.position = Position(log.attempt, 0)
            if known is not None or log.attempt > 1:
                # The reader may take its time: the attempt may be over by then, and its log elsewhere.
                yield AttemptBegan(log.attempt, str(self.position))
                return
        async for record in log.read_from(offset, follow=True):
            self.position = parse_position(record.id)
            offset = self.position.offset
            yield record
        self.position = Position(log.attempt, max(offset, log.size))


class Logs:
    """The logs of all jobs. Each is that of the job's latest attempt.

    Args:
        db: Holds small logs.
        blobs: Holds the others.
        live: Holds those that grow.
    """

    def __init__(self, db: Database, blobs: BlobStore, live: LiveLogs) -> None:
        self._db = db
        self._blobs = blobs
        self._live = live

    async def read(
        self,
        job: JobRecord,
        *,
        after: str | None = None,
        limit_bytes: int = 1 << 20,
        stream: str | None = None,
    ) -> tuple[list[LogRecord], str | None, bool]:
        """Return a part of the log.

        Args:
            job: Whose.
            after: The id behind which to begin; None for the beginning.
            limit_bytes: About how many bytes of output to return at most, each record counting
                `RECORD_COST` more; at least one.
            stream: `stdout`, `stderr`, or None for both.

        Returns:
            The records, the `after` of the next part (None when nothing more will come), and
            whether the log is complete.

        Raises:
            InvalidInput: `after` is no id of this log.
        """
        records: list[LogRecord] = []
        last = after
        size = 0
        complete = self._live.log_of(job.id) is None and job.terminal
        async for record in await self._records(job, _start(after)):
            last = record.id
            if stream is None or record.stream == stream:
                records.append(record)
                size += len(record.data) + RECORD_COST
            if size >= limit_bytes:
                return records, last, complete
        return records, None if complete else last, complete

    async def check(self, job: JobRecord, after: str) -> None:
        """Check that the log can go on behind an id, while that can still be said.

        What an attempt wrote that runs in another process is not known here: its ids are taken.

        Raises:
            InvalidInput: `after` is no id of this log.
        """
        position = parse_position(after)
        if (log := self._live.log_of(job.id)) is not None:
            offset = _within(position, log.attempt)
            await _check_entry(log.read_from(offset, follow=False), position, at_end=offset == log.size)
        elif (stored := await self._stored(job.id)) is not None:
            await self._check_stored(stored, position)
        elif position.attempt > job.attempt:
            raise _no_entry(position)

    async def _check_stored(self, stored: RowMapping, position: Position) -> None:
        at_end = _within(position, stored["attempt"]) == stored["log_bytes"]
        await _check_entry(self._from_stored(stored, position), position, at_end=at_end)

    async def follow(
        self, job_id: str, *, after: str | None = None, stream: str | None = None
    ) -> AsyncGenerator[LogRecord | AttemptBegan | JobEnded, None]:
        """Yield the log from `after` on, live, until the job has ended; the last thing is `JobEnded`.

        Safe to cancel at any moment. Raises `InvalidInput` for an `after` that is no id of this log.
        """
        reader = _Reader(_start(after))
        with self._live.watching(job_id) as changed:
            while True:
                changed.clear()
                if (log := self._live.log_of(job_id)) is not None and not reader.has_all_of(log):
                    async for item in reader.grown(log):
                        if _wanted(item, stream):
                            yield item
                    continue
                job = await self._db.read(lambda connection: find_job(connection, job_id))
                if job is None:
                    return
                if job.terminal:
                    async for item in self._rest(job, reader.position):
                        if _wanted(item, stream):
                            yield item
                    yield JobEnded(job)
                    return
                await set_within(changed, FOREIGN_S)

    async def _rest(
        self, job: JobRecord, position: Position | None
    ) -> AsyncIterator[LogRecord | AttemptBegan]:
        stored = await self._stored(job.id)
        if stored is not None and position is not None:
            try:
                await self._check_stored(stored, position)
            except InvalidInput:
                # The attempt ran in another process, and the reader came with an id that was none of it.
                position = Position(0, 0)
            if position.attempt < stored["attempt"]:
                yield AttemptBegan(stored["attempt"], str(Position(stored["attempt"], 0)))
        async for record in self._from_stored(stored, position):
            yield record

    async def raw(
        self,
        job: JobRecord,
        *,
        stream: str | None = None,
        offset: int = 0,
        limit: int | None = None,
        tail_lines: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Yield output as the program wrote it.

        Args:
            job: Whose.
            stream: `stdout`, `stderr`, or None for both in the order in which they arrived.
            offset: Bytes of this output to pass over.
            limit: Bytes to yield at most; None for all.
            tail_lines: Only the last so many lines; `offset` and `limit` then count within them.
        """
        pieces = self._data(job, stream)
        if tail_lines is not None:
            pieces = tail(pieces, tail_lines)
        async for piece in part_of(pieces, offset, limit):
            yield piece

    async def _data(self, job: JobRecord, stream: str | None) -> AsyncIterator[bytes]:
        async for record in await self._records(job, None):
            if stream is None or record.stream == stream:
                yield record.data

    async def _records(self, job: JobRecord, position: Position | None) -> AsyncIterator[LogRecord]:
        if (log := self._live.log_of(job.id)) is not None:
            return log.read_from(_within(position, log.attempt), follow=False)
        return self._from_stored(await self._stored(job.id), position)

    async def _from_stored(
        self, stored: RowMapping | None, position: Position | None
    ) -> AsyncIterator[LogRecord]:
        if stored is None:
            return
        start = Position(stored["attempt"], _within(position, stored["attempt"]))
        if start.offset > stored["log_bytes"]:
            raise InvalidInput(f"{start} lies behind the end of this log")
        parser = LogParser(start)
        if stored["log"] is not None:
            for record in parser.feed(stored["log"][start.offset :]):
                yield record
        elif stored["log_key"] is not None and start.offset < stored["log_bytes"]:
            async for piece in self._blobs.stream(stored["log_key"], offset=start.offset):
                for record in parser.feed(piece):
                    yield record

    async def _stored(self, job_id: str) -> RowMapping | None:
        columns = (results.c.attempt, results.c.log_bytes, results.c.log, results.c.log_key)
        return await self._db.row(select(*columns).where(results.c.job_id == job_id))


def _start(after: str | None) -> Position | None:
    return None if after is None else parse_position(after)


def _within(position: Position | None, attempt: int) -> int:
    """Return where to go on in the log of `attempt`: its beginning, when the place is of an earlier one."""
    if position is None or position.attempt < attempt:
        return 0
    if position.attempt > attempt:
        raise _no_entry(position)
    return position.offset


async def _check_entry(records: AsyncIterator[LogRecord], position: Position, *, at_end: bool) -> None:
    """Raise `InvalidInput` unless an entry follows, or the place is the log's end."""
    async with aclosing(cast("AsyncGenerator[LogRecord, None]", records)) as found:
        async for _ in found:
            return
    if not at_end:
        raise _no_entry(position)


def _no_entry(position: Position) -> InvalidInput:
    return InvalidInput(f"{position} is the id of no entry of this log")


def _wanted(item: LogRecord | AttemptBegan, stream: str | None) -> bool:
    return stream is None or not isinstance(item, LogRecord) or item.stream == stream
