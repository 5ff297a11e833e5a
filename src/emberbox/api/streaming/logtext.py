"""Logs as plain text."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.api.views import timestamp
from emberbox.service.jobs.logs.parts import part_of
from emberbox.service.jobs.logs.reading import LogRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from emberbox.service.jobs.logs.reading import Logs
    from emberbox.store.records import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LogText:
    """What is wanted of a log.

    Args:
        stream: `stdout`, `stderr`, or None for both in the order in which they arrived.
        after: Begin behind this entry; None for the beginning.
        offset: Bytes of the text to pass over.
        limit: Bytes of the text to send at most; None for all.
        tail: The last so many lines only; None for all. Nothing to a log that is followed.
        timestamps: Whether each line begins with the time at which its first byte arrived.
        follow: Whether to go on until the job has ended.
        encoding: `text` sends what the program wrote, `base64` that in base 64.
    """

    stream: str | None = None
    after: str | None = None
    offset: int = 0
    limit: int | None = None
    tail: int | None = None
    timestamps: bool = False
    follow: bool = False
    encoding: str = "text"


async def log_text(logs: Logs, job: JobRecord, wanted: LogText) -> AsyncGenerator[bytes, None]:
    """Yield a log as text.

    Raises `InvalidInput` before the first piece when `after` is no id of this log.
    """
    if wanted.follow:
        yield b""  # opens the answer: the first output may be long in coming
    if wanted.timestamps or wanted.after is not None or wanted.follow:
        pieces = part_of(_from_records(logs, job, wanted), wanted.offset, wanted.limit)
    else:
        pieces = logs.raw(
            job, stream=wanted.stream, offset=wanted.offset, limit=wanted.limit, tail_lines=wanted.tail
        )
    if wanted.encoding == "base64":
        pieces = _base64(pieces)
    async for piece in pieces:
        yield piece


async def _from_records(logs: Logs, job: JobRecord, wanted: LogText) -> AsyncIterator[bytes]:
    """Yield the text of the entries, without what comes before the tail."""
    skipped = 0
    if wanted.tail is not None and not wanted.follow:
        skipped = max(await _line_count(_records(logs, job, wanted)) - wanted.tail, 0)
    records = _followed(logs, job, wanted) if wanted.follow else _records(logs, job, wanted)
    render = _stamper() if wanted.timestamps else _plain
    async for record in records:
        *passed, data = record.data.split(b"\n", skipped)
        skipped -= len(passed)
        if data and not skipped:
            yield render(record.time_us, data)


async def _records(logs: Logs, job: JobRecord, wanted: LogText) -> AsyncIterator[LogRecord]:
    after = wanted.after
    while True:
        records, after, _ = await logs.read(job, after=after, stream=wanted.stream)
        for record in records:
            yield record
        if after is None or not records:
            return


async def _followed(logs: Logs, job: JobRecord, wanted: LogText) -> AsyncIterator[LogRecord]:
    async for item in logs.follow(job.id, after=wanted.after, stream=wanted.stream):
        if isinstance(item, LogRecord):
            yield item


async def _line_count(records: AsyncIterator[LogRecord]) -> int:
    count, rest = 0, False
    async for record in records:
        count += record.data.count(b"\n")
        rest = not record.data.endswith(b"\n")
    return count + rest


def _plain(_: int, data: bytes) -> bytes:
    return data


def _stamper() -> Callable[[int, bytes], bytes]:
    """Return what puts the time before each line, and knows whether a piece begins one."""
    begins = True

    def stamped(time_us: int, data: bytes) -> bytes:
        nonlocal begins
        stamp = timestamp(time_us).encode() + b" "
        lines = data.split(b"\n")
        ends = not lines[-1]
        body = (b"\n" + stamp).join(lines[:-1] if ends else lines) + (b"\n" if ends else b"")
        text = stamp + body if begins else body
        begins = ends
        return text

    return stamped


async def _base64(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces in base 64; padding comes only at the end."""
    rest = b""
    async for piece in pieces:
        data = rest + piece
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        if whole:
            yield b64encode(data[:whole])
    if rest:
        yield b64encode(rest)
