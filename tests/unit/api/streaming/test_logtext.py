"""Logs as text."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING, Any, cast

from hypothesis import given
from hypothesis import strategies as st

from emberbox.api.streaming.logtext import LogText, log_text
from emberbox.service.jobs.logs.reading import LogRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.service.jobs.logs.reading import Logs
    from emberbox.store.records import JobRecord


class _Logs:
    """A log of given pieces, read two at a time."""

    def __init__(self, pieces: list[tuple[str, bytes]]) -> None:
        self.records = [
            LogRecord(f"1.{n + 1}", cast("Any", stream), n * 1_000_000, data)
            for n, (stream, data) in enumerate(pieces)
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
    text = log_text(cast("Logs", _Logs(pieces)), cast("JobRecord", None), LogText(**wanted))
    return b"".join([part async for part in text])


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


PIECES = st.lists(
    st.tuples(st.just("stdout"), st.text("ab\n", min_size=1, max_size=8).map(str.encode)), max_size=12
)


@given(PIECES)
def test_stamps(pieces: list[tuple[str, bytes]]) -> None:
    assert asyncio.run(_text(pieces, timestamps=True)) == stamped(pieces)


@given(PIECES, st.integers(0, 8))
def test_the_tail_of_stamped_lines(pieces: list[tuple[str, bytes]], lines: int) -> None:
    plain = re.sub(
        rb"(?m)^1970-01-01T00:00:\d\d\.000000Z ", b"", asyncio.run(_text(pieces, timestamps=True, tail=lines))
    )
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
