from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import VmmError
from emberbox.vmm.firecracker.jailer.jail import open_pipe
from emberbox.vmm.firecracker.pipes import BoundedLog, MetricsReader, PipeReader

if TYPE_CHECKING:
    from pathlib import Path


def line(**values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"


async def test_counters_add_up_over_lines_and_levels_do_not() -> None:
    reader = MetricsReader()
    reader.take(line(utc_timestamp_ms=5, block={"read_bytes": 3, "read_agg": {"min_us": 4, "sum_us": 4}}))
    reader.take(
        line(
            utc_timestamp_ms=9,
            block={"read_bytes": 4, "read_agg": {"min_us": 2, "sum_us": 6}},
            flag=True,
            name="x",
        )
    )
    assert reader.counters == {
        "utc_timestamp_ms": 9,
        "block.read_bytes": 7,
        "block.read_agg.min_us": 2,
        "block.read_agg.sum_us": 10,
    }
    assert (reader.lines, reader.torn) == (2, 0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.data())
def test_no_cut_of_the_stream_loses_a_count(values: list[int], data: st.DataObject) -> None:
    async def run() -> None:
        stream = b"".join(line(n=value) for value in values)
        reader = MetricsReader()
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            reader.take(stream[:size])
            stream = stream[size:]
        assert reader.counters["n"] == sum(values)

    asyncio.run(run())


async def test_what_is_no_metric_is_passed_over() -> None:
    reader = MetricsReader()
    for hostile in (
        b"torn {\n",
        b"[1]\n",
        b"[" * 100_000 + b"\n",
        b'{"n": 1}\n',
        b"\xff\xfe\n",
        b'{"n": ' + b"9" * 5000 + b"}\n",
    ):
        reader.take(hostile)
    assert reader.counters == {"n": 1}
    assert reader.torn == 5
    reader.take(b"x" * 300_000)
    reader.take(line(n=1))
    assert reader.torn >= 6, "an endless line is let go"
    lines, torn = reader.lines, reader.torn
    reader.take(b"{}\n" * 20_000)
    assert reader.lines - lines + reader.torn - torn == 20_000
    assert reader.lines - lines < 100, "more than is written at once is not gone through"
    for number in range(10_000):
        reader.take(line(**{f"name{number}": 1}))
    assert len(reader.counters) <= 4096


async def test_waiting_for_a_line_is_bounded() -> None:
    reader = MetricsReader()
    await reader.next_line(0, 0.01)
    assert reader.lines == 0
    asyncio.get_running_loop().call_later(0.01, reader.take, line(n=1))
    await reader.next_line(0, 5)
    assert reader.lines == 1
    await reader.next_line(1, 0.01)
    assert reader.lines == 1


async def test_a_pipe_is_emptied_without_blocking_and_to_the_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    taken = bytearray()
    reader = PipeReader(open_pipe(path), taken.extend)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    sent = 0
    for _ in range(200):
        sent += os.write(writer, b"x" * 10_000)
        await asyncio.sleep(0)
    sent += os.write(writer, b"last words")
    os.close(writer)
    reader.close()
    reader.close()
    assert len(taken) == sent
    assert taken.endswith(b"last words")


async def test_a_pipe_that_is_always_full_takes_little_of_our_time(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pieces: list[int] = []
    reader = PipeReader(open_pipe(path), lambda piece: pieces.append(len(piece)))
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.3
    turns = 0
    while loop.time() < end:
        with contextlib.suppress(BlockingIOError):
            os.write(writer, bytes(1 << 20))
        turns += 1
        await asyncio.sleep(0)
    assert turns > 200, "others have their turns"
    assert sum(pieces) <= 45 * 2 * 65_536, "and the flood is read at a pace"
    os.close(writer)
    before = len(pieces)
    reader.close()
    assert sum(pieces[before:]) > 500_000, "what is in it at the end is read"


def test_a_pipe_that_became_something_else_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "link").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        open_pipe(tmp_path / "link")
    with pytest.raises(VmmError, match="not the pipe"):
        open_pipe(secret)


def test_a_log_keeps_its_beginning_on_disk_and_its_end_in_memory(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", 1000)
    for number in range(10_000):
        log.take(b"%06d\n" % number)
    assert (tmp_path / "log").stat().st_size == 1000
    assert (tmp_path / "log").read_bytes().startswith(b"000000\n000001\n")
    assert log.tail().endswith("009999\n")
    assert len(log.tail()) <= 16_384
