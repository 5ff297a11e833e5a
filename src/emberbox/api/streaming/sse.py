"""Logs as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from emberbox.api.views import compact_json, encoded, timestamp
from emberbox.service.jobs.logs.reading import AttemptBegan, JobProgress, LogRecord
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from emberbox.api.full_jobs import FullJobs
    from emberbox.service.jobs.logs.reading import JobItem

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": heartbeat\n\n"
END = "end"
"""The id of the last event. Who comes back with it is told that there is no more (204), on which
browsers stop asking."""
_OPENING = b"retry: 1000\n\n"


async def events(
    full_jobs: FullJobs, items: AsyncGenerator[JobItem, None], encoding: str
) -> AsyncGenerator[bytes, None]:
    """Yield a followed log as events: `progress`, `attempt`, `output`, at last `end` with the job."""
    async with aclosing(items):
        yield _OPENING
        async for item in items:
            if isinstance(item, LogRecord):
                yield _output(item, encoding)
            elif isinstance(item, AttemptBegan):
                yield _event("attempt", item.id, compact_json(attempt=item.attempt))
            elif isinstance(item, JobProgress):
                # Without an id: who comes back goes on behind the last output.
                yield _event("progress", None, compact_json(message=item.message))
            else:
                yield _event("end", END, (await shielded(full_jobs.view(item.job))).model_dump_json())


def _output(record: LogRecord, encoding: str) -> bytes:
    data = encoded(record.data, encoding)
    told = compact_json(stream=record.stream, time=timestamp(record.time_us), data=data)
    return _event("output", record.id, told)


def _event(name: str, event_id: str | None, data: str) -> bytes:
    # JSON holds no line end outside of its strings, and escapes them within: one line of data is
    # all there is.
    known = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {name}\n{known}data: {data}\n\n".encode()
