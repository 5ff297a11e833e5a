"""Streams that end with whoever leaves first, and logs as text."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.api.logtext import LogText, log_text
from emberbox.api.streams import Followers, StreamAnswer, first_of
from emberbox.errors import CapacityExhausted, InvalidInput
from emberbox.jobs.logs import LogRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from emberbox.jobs.service import Service
    from emberbox.store.records import JobRecord


# -- the first of several -----------------------------------------------------------------------------------------


async def test_the_first_one_ends_the_others() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def soon() -> None:
        await asyncio.sleep(0)

    await first_of(forever(), soon(), forever())
    assert ended == [True, True]


async def test_the_first_failure_is_raised() -> None:
    async def fails() -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        await first_of(asyncio.sleep(60), fails())


async def test_cancelling_cancels_all() -> None:
    tasks = asyncio.all_tasks()
    task = asyncio.ensure_future(first_of(asyncio.sleep(60), asyncio.sleep(60)))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert asyncio.all_tasks() == tasks


def test_places() -> None:
    places = Followers(1)
    with places.one():
        with pytest.raises(CapacityExhausted, match=r"server\.followers"), places.one():
            pass
        assert places.count == 1
    assert places.count == 0


# -- answers that go on -------------------------------------------------------------------------------------------


async def answered(answer: StreamAnswer, *, leave_after: int | None = None) -> list[dict[str, Any]]:
    """Serve an answer to a caller that leaves after some messages, and return what was sent."""
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == leave_after:
            left.set()
            await asyncio.sleep(0)

    await asyncio.wait_for(answer({"type": "http"}, receive, send), 10)
    return sent


async def test_all_is_sent_and_the_generator_closed() -> None:
    closed = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    sent = await answered(StreamAnswer(chunks(), media_type="text/plain"))
    assert [m.get("body") for m in sent] == [None, b"a", b"b", b""]
    assert [m.get("more_body") for m in sent] == [None, True, True, False]
    assert closed == [True]


async def test_who_leaves_ends_it() -> None:
    closed = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    followers = Followers(1)
    await answered(StreamAnswer(chunks(), media_type="text/plain", followers=followers), leave_after=2)
    assert closed == [True]
    assert followers.count == 0


async def test_a_failure_before_the_first_chunk_sends_nothing() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        raise InvalidInput("no")
        yield b""

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(InvalidInput):
        await StreamAnswer(chunks(), media_type="text/plain")({"type": "http"}, receive, send)
    assert sent == []


async def test_a_failure_in_the_middle_does_not_look_like_an_end() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        await answered(StreamAnswer(chunks(), media_type="text/plain"))


# -- text ---------------------------------------------------------------------------------------------------------


class _Logs:
    """A log of given pieces, read two at a time."""

    def __init__(self, pieces: list[tuple[str, bytes]]) -> None:
        self.records = [
            LogRecord(f"1.{n + 1}", cast("Any", stream), n * 1_000_000, data) for n, (stream, data) in enumerate(pieces)
        ]

    async def read(
        self, job: object, *, after: str | None = None, stream: str | None = None
    ) -> tuple[list[LogRecord], str | None, bool]:
        begin = int(after[2:]) if after else 0
        part = self.records[begin : begin + 2]
        found = [record for record in part if stream in (None, record.stream)]
        return found or part[:0], part[-1].id if part and found else None, True

    def raw(self, job: object, **options: Any) -> AsyncIterator[bytes]:
        raise AssertionError("not asked for here")


async def _text(pieces: list[tuple[str, bytes]], **wanted: Any) -> bytes:
    service = cast("Service", type("_Service", (), {"logs": _Logs(pieces)}))
    return b"".join([part async for part in log_text(service, cast("JobRecord", None), LogText(**wanted))])


def stamped(pieces: list[tuple[str, bytes]]) -> bytes:
    """Put stamps before lines in the plainest way: byte by byte."""
    text, begins = b"", True
    for second, (_, data) in enumerate(pieces):
        for byte in data:
            if begins:
                text += f"1970-01-01T00:00:{second:02d}.000000Z ".encode()
            text += bytes([byte])
            begins = byte == 10
    return text


PIECES = st.lists(st.tuples(st.just("stdout"), st.text("ab\n", min_size=1, max_size=8).map(str.encode)), max_size=12)


@given(PIECES)
def test_stamps(pieces: list[tuple[str, bytes]]) -> None:
    assert asyncio.run(_text(pieces, timestamps=True)) == stamped(pieces)


@given(PIECES, st.integers(0, 8))
def test_the_tail_of_stamped_lines(pieces: list[tuple[str, bytes]], lines: int) -> None:
    plain = re.sub(rb"(?m)^1970-01-01T00:00:\d\d\.000000Z ", b"", asyncio.run(_text(pieces, timestamps=True, tail=lines)))
    whole = b"".join(data for _, data in pieces).splitlines(keepends=True)
    assert plain == b"".join(whole[max(len(whole) - lines, 0) :])


@given(PIECES, st.integers(0, 300), st.none() | st.integers(1, 300))
def test_a_piece_of_it(pieces: list[tuple[str, bytes]], offset: int, limit: int | None) -> None:
    whole = stamped(pieces)
    assert asyncio.run(_text(pieces, timestamps=True, offset=offset, limit=limit)) == whole[offset:][:limit]


@given(PIECES)
def test_base64(pieces: list[tuple[str, bytes]]) -> None:
    text = asyncio.run(_text(pieces, timestamps=True, encoding="base64"))
    assert base64.b64decode(text, validate=True) == stamped(pieces)
