from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from emberbox.cli.streams import Sink, read_pieces
from tests.patience import PATIENCE_S


async def test_a_slow_reader_is_waited_for_without_blocking_the_loop() -> None:
    reader, writer = os.pipe()
    data = os.urandom(500_000)
    received = bytearray()
    ticks = 0

    async def drain() -> None:
        nonlocal ticks
        while len(received) < len(data):
            await asyncio.sleep(0.001)
            ticks += 1
            received.extend(os.read(reader, 50_000))

    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(Sink(writer).write(data), drain())
        assert bytes(received) == data
        assert ticks >= 10
        assert os.get_blocking(writer)
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_reader_that_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        await Sink(writer).write(b"x")
    os.close(writer)


async def test_waiting_for_input_can_be_cancelled() -> None:
    reader, writer = os.pipe()
    try:
        pieces = read_pieces(reader)
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert os.get_blocking(reader)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("size", [0, 1, 200_000])
async def test_a_file_is_read_and_written_whole(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        sink = Sink(target.fileno())
        async for piece in read_pieces(source.fileno()):
            await sink.write(piece)
    assert (tmp_path / "out").read_bytes() == data


async def test_a_null_device_is_both_empty_and_bottomless() -> None:
    with Path(os.devnull).open("r+b", buffering=0) as null:
        assert [piece async for piece in read_pieces(null.fileno())] == []
        await Sink(null.fileno()).write(b"x" * 10_000)
