"""Reading logs: of jobs that run, of jobs that ended, and from one into the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select

from emberbox.errors import InvalidInput
from emberbox.jobs.log_format import LogParser, LogRecord, Position, parse_position
from emberbox.store.records import JobRecord
from emberbox.store.tables import jobs, results
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.blobs import BlobStore
    from emberbox.jobs.live import LiveJobs
    from emberbox.store import Database

__all__ = ["AttemptBegan", "JobEnded", "LogRecord", "Logs"]

FOREIGN_S = 1.0
"""A job that runs in another process is looked at this often."""


RECORD_COST = 128
"""What a record costs besides its data, in bytes: a program that writes single bytes must not make a page huge."""


@dataclass(frozen=True, slots=True)
class AttemptBegan:
    """The job is tried again and its log begins anew. `id` stands before its first record."""

    attempt: int
    id: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job has ended, and all of its log was read."""

    job: JobRecord


@dataclass(frozen=True, slots=True)
class _Stored:
    attempt: int
    size: int
    data: bytes | None
    key: str | None


class Logs:
    """The logs of all jobs. Each is that of the job's latest attempt.

    Args:
        db: Holds small logs.
        blobs: Holds the others.
        live: Holds those that grow.
    """

    def __init__(self, db: Database, blobs: BlobStore, live: LiveJobs) -> None:
        self._db = db
        self._blobs = blobs
        self._live = live

    async def read(
        self, job: JobRecord, *, after: str | None = None, limit_bytes: int = 1 << 20, stream: str | None = None
    ) -> tuple[list[LogRecord], str | None, bool]:
        """Return a part of the log.

        Args:
            job: Whose.
            after: The id behind which to begin; None for the beginning.
            limit_bytes: About how many bytes of output to return at most, each record counting `RECORD_COST` more; at least one.
            stream: `stdout`, `stderr`, or None for both.

        Returns:
            The records, the `after` of the next part (None when nothing more will come), and whether the log is complete.

        Raises:
            InvalidInput: `after` is no id of this log.
        """
        records: list[LogRecord] = []
        last = after
        size = 0
        complete = self._live.get(job.id) is None and job.terminal
        async for record in self._records(job, _start(after), follow=False):
            last = record.id
            if stream is None or record.stream == stream:
                records.append(record)
                size += len(record.data) + RECORD_COST
            if size >= limit_bytes:
                return records, last, complete
        return records, None if complete else last, complete

    async def follow(
        self, job_id: str, *, after: str | None = None, stream: str | None = None
    ) -> AsyncIterator[LogRecord | AttemptBegan | JobEnded]:
        """Yield the log from `after` on, live, until the job has ended; the last thing is `JobEnded`.

        Safe to cancel at any moment. Raises `InvalidInput` for an `after` that is no id of this log.
        """
        position = _start(after)
        with self._live.watching(job_id) as changed:
            while True:
                changed.clear()
                live = self._live.get(job_id)
                if live is not None and not (live.log.closed and position == Position(live.log.attempt, live.log.size)):
                    if position is not None and position.attempt > live.log.attempt:
                        raise InvalidInput(f"{position} is the id of no entry of this log")
                    if position is None or position.attempt != live.log.attempt:
                        known, position = position, Position(live.log.attempt, 0)
                        if known is not None or position.attempt > 1:
                            yield AttemptBegan(position.attempt, str(position))
                            # The reader may have taken its time: the attempt may be over, and its log elsewhere.
                            continue
                    async for record in live.log.read_from(position.offset, follow=True):
                        position = parse_position(record.id)
                        if stream is None or record.stream == stream:
                            yield record
                    position = Position(live.log.attempt, max(position.offset, live.log.size))
                    continue
                # A reader may leave at any moment, and a database's connection does not survive that in mid-question.
                job = await shielded(self._job(job_id))
                if job is None:
                    return
                if job.terminal:
                    async for item in self._rest(job, position, stream):
                        yield item
                    yield JobEnded(job)
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FOREIGN_S):
                        await changed.wait()

    async def _rest(
        self, job: JobRecord, position: Position | None, stream: str | None
    ) -> AsyncIterator[LogRecord | AttemptBegan]:
        stored = await shielded(self._stored(job.id))
        if stored is None:
            return
        if position is not None and position.attempt > stored.attempt:
            raise InvalidInput(f"{position} is the id of no entry of this log")
        if position is not None and position.attempt != stored.attempt:
            yield AttemptBegan(stored.attempt, f"{stored.attempt}.0")
            position = None
        async for record in self._from_stored(stored, position or Position(stored.attempt, 0)):
            if stream is None or record.stream == stream:
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
            pieces = _tail(pieces, tail_lines)
        async for piece in part_of(pieces, offset, limit):
            yield piece

    async def _data(self, job: JobRecord, stream: str | None) -> AsyncIterator[bytes]:
        async for record in self._records(job, None, follow=False):
            if stream is None or record.stream == stream:
                yield record.data

    async def _records(self, job: JobRecord, position: Position | None, *, follow: bool) -> AsyncIterator[LogRecord]:
        live = self._live.get(job.id)
        if live is not None:
            source = live.log.read_from(_within(position, live.log.attempt), follow=follow)
        else:
            stored = await shielded(self._stored(job.id))
            if stored is None:
                return
            source = self._from_stored(stored, Position(stored.attempt, _within(position, stored.attempt)))
        async for record in source:
            yield record

    async def _from_stored(self, stored: _Stored, start: Position) -> AsyncIterator[LogRecord]:
        if start.offset > stored.size:
            raise InvalidInput(f"{start} lies behind the end of this log")
        parser = LogParser(start)
        if stored.data is not None:
            for record in parser.feed(stored.data[start.offset :]):
                yield record
        elif stored.key is not None and start.offset < stored.size:
            async for piece in self._blobs.stream(stored.key, offset=start.offset):
                for record in parser.feed(piece):
                    yield record

    async def _stored(self, job_id: str) -> _Stored | None:
        columns = (results.c.attempt, results.c.log_bytes, results.c.log, results.c.log_key)
        async with self._db.reading() as connection:
            row = (await connection.execute(select(*columns).where(results.c.job_id == job_id))).first()
        return None if row is None else _Stored(*row)

    async def _job(self, job_id: str) -> JobRecord | None:
        async with self._db.reading() as connection:
            row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).mappings().first()
        return None if row is None else JobRecord.from_row(row)


def _start(after: str | None) -> Position | None:
    return None if after is None else parse_position(after)


def _within(position: Position | None, attempt: int) -> int:
    """Return where to go on in the log of `attempt`: at its beginning, when the place is of an earlier one."""
    if position is None or position.attempt < attempt:
        return 0
    if position.attempt > attempt:
        raise InvalidInput(f"{position} is the id of no entry of this log")
    return position.offset


async def part_of(pieces: AsyncIterator[bytes], offset: int, limit: int | None) -> AsyncIterator[bytes]:
    """Yield the bytes from `offset` on, `limit` of them at most; None for all."""
    left = limit
    async for piece in pieces:
        data = piece[offset:]
        offset = max(offset - len(piece), 0)
        if left is not None:
            data = data[:left]
            left -= len(data)
        if data:
            yield data
        if left == 0:
            return


async def _tail(pieces: AsyncIterator[bytes], lines: int) -> AsyncIterator[bytes]:
    """Yield the last `lines` lines, holding no more than they need."""
    held: deque[bytes] = deque()
    newlines = 0
    async for piece in pieces:
        held.append(piece)
        newlines += piece.count(b"\n")
        while held and newlines - held[0].count(b"\n") > lines:
            newlines -= held.popleft().count(b"\n")
    data = b"".join(held)
    ends = data.endswith(b"\n")
    parts = data.split(b"\n")
    count = lines + 1 if ends else lines
    yield b"\n".join(parts[-count:] if lines else [])


Stream = Literal["stdout", "stderr"]
