"""Following a job over connections that break."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from emberbox.client import AttemptBegan, JobEnded, JobProgress
from emberbox.client.log_events import read_message
from emberbox.errors import NotFound, ServerUnreachable
from emberbox.schemas.jobs import LogEntry
from tests.unit.client.conftest import job_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emberbox.client import AsyncClient

LINES = [f"line {number}\n" for number in range(12)]


def _event(kind: str, event_id: str, values: object) -> bytes:
    return f"event: {kind}\nid: {event_id}\ndata: {json.dumps(values)}\n\n".encode()


def _log() -> list[tuple[str, bytes]]:
    output = [
        (
            f"1.{n}",
            _event("output", f"1.{n}", {"stream": "stdout", "time": "2030-01-01T00:00:00Z", "data": line}),
        )
        for n, line in enumerate(LINES)
    ]
    return [
        ("1.0a", _event("attempt", "1.0a", {"attempt": 1})),
        *output,
        ("end", _event("end", "end", job_values())),
    ]


class Pieces(httpx.AsyncByteStream):
    """A stream that breaks off behind some of its pieces."""

    def __init__(self, pieces: list[bytes], error: Exception | None) -> None:
        self._pieces = pieces
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._error is not None:
            raise self._error


class Breaking:
    """Sends a few events on each connection, then half of one, and breaks."""

    def __init__(self, events_each: int, error: Exception | None) -> None:
        self.events_each = events_each
        self.error = error
        self.seen: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        last = request.headers.get("Last-Event-ID")
        self.seen.append(last)
        log = _log()
        start = 0 if last is None else [event_id for event_id, _ in log].index(last) + 1
        part = [data for _, data in log[start : start + self.events_each]]
        half = [data[: len(data) // 2] for _, data in log[start + self.events_each :][:1]]
        return httpx.Response(
            200, stream=Pieces([b"retry: 1000\n\n", *part, *half], self.error if half else None)
        )


@pytest.mark.parametrize(
    "error",
    [None, httpx.ReadError("reset"), httpx.RemoteProtocolError("closed"), httpx.ReadTimeout("silent")],
)
@pytest.mark.parametrize("events_each", [1, 3, 100])
async def test_nothing_is_missed_or_repeated(
    connect: Callable[..., AsyncClient], events_each: int, error: Exception | None
) -> None:
    server = Breaking(events_each, error)
    events = [event async for event in connect(server).jobs.events("job_01")]
    assert events[0] == AttemptBegan(1)
    assert [event.data for event in events if isinstance(event, LogEntry)] == LINES
    assert isinstance(events[-1], JobEnded)
    assert len(server.seen) == -(-14 // events_each)


async def test_what_is_made_ready_is_told(connect: Callable[..., AsyncClient]) -> None:
    end = f"event: end\nid: end\ndata: {json.dumps(job_values())}\n\n"
    text = f'event: progress\ndata: {{"message":"making a template"}}\n\n{end}'
    client = connect(lambda request: httpx.Response(200, content=text.encode()))
    events = [event async for event in client.jobs.events("job_01")]
    assert events[0] == JobProgress("making a template")
    assert isinstance(events[1], JobEnded)
    assert read_message('{"type":"progress","message":"making a template"}') == events[0]


async def test_logs_are_the_output_alone(connect: Callable[..., AsyncClient]) -> None:
    entries = [entry async for entry in connect(Breaking(5, None)).jobs.logs("job_01", follow=True)]
    assert [(entry.id, entry.data) for entry in entries] == [(f"1.{n}", line) for n, line in enumerate(LINES)]


async def test_a_stream_that_never_gets_on_is_given_up(
    connect: Callable[..., AsyncClient], pauses: list[float]
) -> None:
    server = Breaking(0, httpx.ReadError("reset"))
    with pytest.raises(ServerUnreachable, match="reset"):
        [entry async for entry in connect(server).jobs.logs("job_01", follow=True)]
    assert len(server.seen) == len(pauses) + 1 == 9


async def test_a_refusal_is_told_at_once(connect: Callable[..., AsyncClient]) -> None:
    client = connect(
        lambda request: httpx.Response(404, json={"code": "not_found", "detail": "there is no such job"})
    )
    with pytest.raises(NotFound, match="no such job"):
        [entry async for entry in client.jobs.logs("job_01", follow=True)]


@pytest.mark.parametrize(
    "data",
    [b"event: output\ndata: {\n\n", b"event: end\nid: end\ndata: {}\n\n", b"event: attempt\ndata: []\n\n"],
)
async def test_what_cannot_be_read_is_told(connect: Callable[..., AsyncClient], data: bytes) -> None:
    with pytest.raises(ServerUnreachable, match="cannot be read"):
        [
            entry
            async for entry in connect(lambda request: httpx.Response(200, content=data)).jobs.logs(
                "job_01", follow=True
            )
        ]


async def test_who_comes_back_behind_the_end_is_told_the_end(connect: Callable[..., AsyncClient]) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(204)
            if request.url.path.endswith("/logs")
            else httpx.Response(200, json=job_values())
        )

    events = [event async for event in connect(server).jobs.events("job_01", after="end")]
    assert [type(event) for event in events] == [JobEnded]


async def test_a_log_is_read_part_by_part(connect: Callable[..., AsyncClient]) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("after", 0))
        entries = [
            {"id": str(n + 1), "stream": "stdout", "time": "2030-01-01T00:00:00Z", "data": LINES[n]}
            for n in range(start, min(start + 5, 12))
        ]
        return httpx.Response(
            200,
            json={"entries": entries, "next": None if start + 5 >= 12 else str(start + 5), "complete": True},
        )

    client = connect(server)
    assert [entry.data async for entry in client.jobs.logs("job_01")] == LINES
    assert [entry.data async for entry in client.jobs.logs("job_01", after="10")] == LINES[10:]
