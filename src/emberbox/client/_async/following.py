"""Logs: read in parts, or followed as they are written."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from emberbox.client.events import Event, EventParser
from emberbox.client.log_events import JobEnded, read_event
from emberbox.client.places import unreachable
from emberbox.client.retries import PATIENT
from emberbox.client.waiting import async_sleep
from emberbox.errors import PayloadTooLarge, ServerUnreachable
from emberbox.schemas.jobs import LogPage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from emberbox.client._async.transport import AsyncTransport
    from emberbox.client.log_events import JobEvent
    from emberbox.schemas.jobs import LogEntry

NO_CONTENT = 204
SILENCE_S = 60.0
"""A stream that says nothing for so long, beyond the client's own patience, is broken: the server
sends a heartbeat earlier."""


async def read_log(
    transport: AsyncTransport, job: str, stream: str | None, after: str | None, *, binary: bool
) -> AsyncGenerator[LogEntry]:
    """Yield what a log holds now, part by part."""
    encoding = "base64" if binary else None
    while True:
        page = await transport.get(LogPage, f"{job}/logs", stream=stream, after=after, encoding=encoding)
        for entry in page.entries:
            yield entry
        if page.next is None or not page.entries:
            return
        after = page.next


async def follow_log(
    transport: AsyncTransport, job: str, stream: str | None, after: str | None, *, binary: bool
) -> AsyncGenerator[JobEvent]:
    """Yield what is written until the job has ended, over as many connections as it takes."""
    broken = 0
    while True:
        try:
            async with aclosing(_connection(transport, job, stream, after, binary=binary)) as events:
                async for event in events:
                    broken = 0
                    told = read_event(event)
                    after = event.id or after
                    if told is not None:
                        yield told
                    if isinstance(told, JobEnded):
                        return
            failure = unreachable(transport.place.server, "the stream ended before the job did")
        except ServerUnreachable as error:
            failure = error
        except (ValueError, KeyError, TypeError, PayloadTooLarge) as error:
            raise unreachable(
                transport.place.server, f"its stream of events cannot be read: {error}"
            ) from error
        broken += 1
        pause_s = PATIENT.pause_s(failure, broken, safe=True)
        if pause_s is None:
            raise failure
        await async_sleep(pause_s)


async def _connection(
    transport: AsyncTransport, job: str, stream: str | None, after: str | None, *, binary: bool
) -> AsyncGenerator[Event]:
    headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
    query = {"follow": "true", "stream": stream, "encoding": "base64" if binary else None}
    parser = EventParser()
    async with transport.stream(f"{job}/logs", query=query, headers=headers, wait_s=SILENCE_S) as response:
        if response.status_code == NO_CONTENT:
            # The end was told before.
            yield Event((await transport.request("GET", job)).text, "end")
        async for piece in response.aiter_bytes():
            for event in parser.feed(piece):
                yield event
