"""The log of a job: its format, and writing and reading it at once."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emberbox.errors import InvalidInput, NoSpace
from emberbox.service.jobs.logs.format import MAX_DATA, LogParser, LogRecord, Position, encode, parse_position
from emberbox.service.jobs.logs.writer import HEAD, SMALL, LogWriter
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Stream = Literal["stdout", "stderr"]
PIECES = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=300)), max_size=40
)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LogWriter]:
    log = LogWriter(1, tmp_path / "log")
    yield log
    log.discard()


async def all_of(log: LogWriter, offset: int = 0) -> list[LogRecord]:
    return [record async for record in log.read_from(offset, follow=False)]


def joined(records: list[LogRecord], stream: str) -> bytes:
    return b"".join(record.data for record in records if record.stream == stream)


@given(PIECES, st.integers(1, 50))
def test_records_survive_any_cut(pieces: list[tuple[Stream, bytes]], size: int) -> None:
    log = b"".join(encode(stream, 7, data) for stream, data in pieces)
    parser = LogParser(Position(3, 0))
    found = [
        record for start in range(0, len(log), size) for record in parser.feed(log[start : start + size])
    ]
    assert [(record.stream, record.data) for record in found] == pieces
    if found:
        assert found[-1].id == f"3.{len(log)}"
        assert [record.time_us for record in found] == [7] * len(pieces)


@given(PIECES.filter(bool), st.data())
def test_reading_on_from_any_record_misses_and_repeats_nothing(
    pieces: list[tuple[Stream, bytes]], data: st.DataObject
) -> None:
    log = b"".join(encode(stream, 7, piece) for stream, piece in pieces)
    found = list(LogParser(Position(1, 0)).feed(log))
    at = data.draw(st.integers(0, len(found) - 1))
    position = parse_position(found[at].id)
    rest = list(LogParser(position).feed(log[position.offset :]))
    assert rest == found[at + 1 :]


def test_a_place_between_records_is_recognised() -> None:
    log = encode("stdout", 1, b"x" * 100)
    for offset in range(1, len(log) - 20):
        with pytest.raises(InvalidInput, match="is the id of no entry"):
            list(LogParser(Position(1, offset)).feed(log[offset:]))


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "0.5", "1.-1", "1.05", "a.b", "1.2.3", "1." + "9" * 40, "１.２", "1.1\n"]
)
def test_what_cannot_be_an_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no id of a log entry"):
        parse_position(text)


async def test_output_is_there_at_once_and_in_order(writer: LogWriter) -> None:
    writer.append("stdout", b"one\n")
    assert [record.data for record in await all_of(writer)] == [b"one\n"]
    writer.append("stderr", b"two\n")
    writer.append("stdout", b"three\n")
    writer.finish()
    assert [(record.stream, record.data) for record in await all_of(writer)] == [
        ("stdout", b"one\n"),
        ("stderr", b"two\n"),
        ("stdout", b"three\n"),
    ]
    assert writer.data is not None
    assert writer.heads == {"stdout": b"one\nthree\n", "stderr": b"two\n"}
    assert writer.written == {"stdout": 10, "stderr": 4}


async def test_quick_pieces_become_one_record(writer: LogWriter) -> None:
    for number in range(1000):
        writer.append("stdout", b"%d\n" % number)
    writer.finish()
    records = await all_of(writer)
    assert joined(records, "stdout") == b"".join(b"%d\n" % number for number in range(1000))
    assert len(records) < 200


async def test_what_is_held_back_comes_by_itself(writer: LogWriter) -> None:
    writer.append("stdout", b"a")
    writer.append("stdout", b"b")
    follower = writer.read_from(0, follow=True)
    assert (await anext(follower)).data == b"a"
    assert (await asyncio.wait_for(anext(follower), PATIENCE_S)).data == b"b"


@settings(max_examples=60)
@given(text=st.text(min_size=1, max_size=60), cuts=st.lists(st.integers(0, 300), max_size=20))
async def test_characters_are_not_cut(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[int]
) -> None:
    log = LogWriter(1, tmp_path_factory.mktemp("log") / "log")
    data = text.encode("utf-8", "surrogatepass")
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(places):
        log.append("stdout", data[start:end])
        log._flush()
    log.finish()
    records = await all_of(log)
    assert joined(records, "stdout") == data
    if not any("\ud800" <= character <= "\udfff" for character in text):
        for record in records:
            record.data.decode()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\xe2\x82", b"\x80\x80\x80\x80", b"ok\xf0\x9f", b"\xc3" * 9])
async def test_bytes_that_are_no_text_are_kept(writer: LogWriter, data: bytes) -> None:
    for number in range(len(data)):
        writer.append("stdout", data[number : number + 1])
        writer._flush()
    writer.finish()
    assert joined(await all_of(writer), "stdout") == data


async def test_a_large_log_goes_to_disk_and_reads_the_same(writer: LogWriter, tmp_path: Path) -> None:
    data = os.urandom(SMALL * 3 + 17)
    followed = asyncio.create_task(_follow(writer))
    for start in range(0, len(data), 5000):
        writer.append("stderr", data[start : start + 5000])
        await asyncio.sleep(0)
    writer.finish()
    assert (writer.data, writer.path) == (None, tmp_path / "log")
    assert (tmp_path / "log").stat().st_size == writer.size
    assert joined(await all_of(writer), "stderr") == data
    assert joined(await followed, "stderr") == data
    assert writer.heads["stderr"] == data[:HEAD]
    assert all(len(record.data) <= MAX_DATA for record in await all_of(writer))


async def _follow(log: LogWriter) -> list[LogRecord]:
    return [record async for record in log.read_from(0, follow=True)]


async def test_many_followers_see_all_of_it(writer: LogWriter) -> None:
    followers = [asyncio.create_task(_follow(writer)) for _ in range(200)]
    for number in range(50):
        writer.append("stdout", b"line %d\n" % number)
        await asyncio.sleep(0.001)
    writer.finish()
    seen = await asyncio.gather(*followers)
    assert {joined(records, "stdout") for records in seen} == {
        b"".join(b"line %d\n" % number for number in range(50))
    }


async def test_a_reader_may_outlive_the_log(writer: LogWriter, tmp_path: Path) -> None:
    writer.append("stdout", b"x" * SMALL * 8)
    reader = writer.read_from(0, follow=True)
    first = await anext(reader)
    writer.discard()
    assert not (tmp_path / "log").exists()
    rest = b"".join([record.data async for record in reader])
    assert len(first.data) + len(rest) == SMALL * 8
    assert writer._file is None, "the last reader closes the file"


async def test_a_reader_who_comes_after_the_log_was_discarded_finds_nothing(writer: LogWriter) -> None:
    writer.append("stdout", b"x" * (SMALL + 1))
    late = writer.read_from(0, follow=True)
    writer.discard()
    assert [record async for record in late] == []


async def test_reading_from_nowhere_is_refused(writer: LogWriter) -> None:
    writer.append("stdout", b"x")
    with pytest.raises(InvalidInput, match="behind the end"):
        await all_of(writer, 1000)


async def test_a_full_disk_is_told_and_what_was_written_stays(
    writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append("stdout", b"x" * (SMALL // 2))

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpace, match="disk is full"):
        writer.append("stdout", b"x" * SMALL)
    with pytest.raises(NoSpace):
        writer.append("stdout", b"more")
    writer.finish()
    assert joined([record async for record in writer.read_from(0, follow=True)], "stdout") == b"x" * (
        SMALL // 2
    )


async def test_what_is_held_back_and_finds_no_room_is_told(
    writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append("stdout", b"x" * (SMALL + 1))
    writer.append("stdout", b"held back")
    writer.check()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    writer.finish()
    with pytest.raises(NoSpace, match="the disk is full"):
        writer.check()


async def test_finishing_twice_is_harmless(writer: LogWriter) -> None:
    writer.append("stdout", b"\xe2")
    writer.finish()
    once = writer.data
    writer.finish()
    assert writer.data == once
    assert writer.closed
