# Written by scripts/sync_client.py from _async/following.py; change that instead.
"""Logs: read in parts, or followed as they are written."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from emberbox.client.events import Event, EventParser
from emberbox.client.log_events import JobEnded, read_event
from emberbox.client.places import unreachable
from emberbox.client.retries import PATIENT
from emberbox.client.waiting import sleep
from emberbox.errors import PayloadTooLarge, ServerUnreachable
from emberbox.schemas.jobs import LogPage

if TYPE_CHECKING:
    from collections.abc import Generator

    from emberbox.client._sync.transport import Transport
    from emberbox.client.log_events import JobEvent
    from emberbox.schemas.jobs import LogEntry

NO_CONTENT = 204
SILENCE_S = 60.0
"""A stream that says nothing for so long, beyond the client's own patience, is broken: the server
sends a heartbeat earlier."""


def read_log(
    transport: Transport, job: str, stream: str | None, after: str | None, *, binary: bool
) -> Generator[LogEntry]:
    """Yield what a log holds now, part by part."""
    encoding = "base64" if binary else None
    while True:
        page = transport.get(LogPage, f"{job}/logs", stream=stream, after=after, encoding=encoding)
        yield from page.entries
        if page.next is None or not page.entries:
            return
        after = page.next


def follow_log(
    transport: Transport, job: str, stream: str | None, after: str | None, *, binary: bool
) -> Generator[JobEvent]:
    """Yield what is written until the job has ended, over as many connections as it takes."""
    broken = 0
    while True:
        try:
            with closing(_connection(transport, job, stream, after, binary=binary)) as events:
                for event in events:
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
        sleep(pause_s)


def _connection(
    transport: Transport, job: str, stream: str | None, after: str | None, *, binary: bool
) -> Generator[Event]:
    headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
    query = {"follow": "true", "stream": stream, "encoding": "base64" if binary else None}
    parser = EventParser()
    with transport.stream(f"{job}/logs", query=query, headers=headers, wait_s=SILENCE_S) as response:
        if response.status_code == NO_CONTENT:
            # The end was told before.
            yield Event((transport.request("GET", job)).text, "end")
        for piece in response.iter_bytes():
            yield from parser.feed(piece)
