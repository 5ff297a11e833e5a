"""The host's end of the proxy link believes a guest nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import GuestViolation
from emberbox.model import Output
from emberbox.sandbox.packages.proxy_link import (
    CREDIT,
    DATA,
    END,
    GREETING,
    HELLO,
    OPEN,
    RESET,
    WINDOW,
    Connection,
    FrameReader,
    ProxyLink,
    frame,
)
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

HI = frame(0, HELLO, GREETING)


class Guest:
    """The guest's end, played by the test."""

    def __init__(self) -> None:
        self.up: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.reader = FrameReader()
        self.down: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()

    async def write_stdin(self, data: bytes) -> None:
        for found in self.reader.feed(data):
            self.down.put_nowait(found)

    async def output(self) -> AsyncGenerator[Output, None]:
        while (data := await self.up.get()) is not None:
            yield Output("stdout", data)

    def send(self, *frames: bytes) -> None:
        for data in frames:
            self.up.put_nowait(data)


async def _echo(connection: Connection) -> None:
    while data := await connection.read():
        await connection.write(data)


async def _run(guest: Guest, serve: object = _echo) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await ProxyLink(guest, serve).run()  # type: ignore[arg-type]


async def test_data_credit_and_ends_go_both_ways() -> None:
    guest = Guest()
    guest.send(HI, frame(1, OPEN), frame(1, DATA, b"ping"))
    serving = asyncio.create_task(_run(guest))
    assert [await guest.down.get() for _ in range(2)] == [
        (1, CREDIT, (4).to_bytes(4, "big")),
        (1, DATA, b"ping"),
    ]
    guest.send(frame(1, END))
    assert await guest.down.get() == (1, END, b"")
    guest.up.put_nowait(None)
    await serving
    assert guest.down.empty()


async def test_frames_are_cut_wherever_they_arrive() -> None:
    reader = FrameReader()
    data = HI + frame(1, OPEN) + frame(1, DATA, b"abc")
    found = [one for at in range(len(data)) for one in reader.feed(data[at : at + 1])]
    assert found == [(0, HELLO, GREETING), (1, OPEN, b""), (1, DATA, b"abc")]


async def test_writing_stops_at_the_credit_that_the_guest_gave() -> None:
    guest = Guest()

    async def flood(connection: Connection) -> None:
        await connection.write(bytes(WINDOW + 10))

    guest.send(HI, frame(1, OPEN))
    serving = asyncio.create_task(_run(guest, flood))
    got = 0
    while got < WINDOW:
        got += len((await guest.down.get())[2])
    await asyncio.sleep(0.05)
    assert guest.down.empty()
    guest.send(frame(1, CREDIT, (10).to_bytes(4, "big")))
    assert await guest.down.get() == (1, DATA, bytes(10))
    assert await guest.down.get() == (1, END, b"")
    guest.send(frame(1, END))
    guest.up.put_nowait(None)
    await serving


async def test_a_reset_ends_one_connection_and_leaves_the_others() -> None:
    guest = Guest()
    guest.send(HI, frame(1, OPEN), frame(2, OPEN), frame(1, RESET))
    serving = asyncio.create_task(_run(guest))
    guest.send(frame(1, DATA, b"late"), frame(2, DATA, b"x"))
    while (found := await guest.down.get())[0] == 1:
        assert found[1] == CREDIT
    assert found == (2, CREDIT, (1).to_bytes(4, "big"))
    guest.up.put_nowait(None)
    await serving


@pytest.mark.parametrize(
    "frames",
    [
        [frame(1, OPEN)],
        [frame(0, HELLO, b"another protocol")],
        [HI, HI],
        [HI, frame(2, OPEN)],
        [HI, frame(1, OPEN), frame(1, OPEN)],
        [HI, frame(1, DATA, b"x")],
        [HI, frame(1, OPEN), frame(1, END), frame(1, DATA, b"x")],
        [HI, frame(1, OPEN), frame(1, CREDIT, (1).to_bytes(4, "big"))],
        [HI, frame(1, OPEN), frame(1, 99)],
        [HI, frame(1, OPEN), frame(1, DATA)],
        [HI, b"\0\0\0\1\3\0\xff\xff"],
        [HI, b"\0\0\0\1\2\1\0\0"],
        [HI, frame(1, OPEN), *[frame(1, DATA, bytes(16_384))] * 9],
        [HI, *[frame(number, OPEN) for number in range(1, 200)]],
    ],
)
async def test_a_violation_ends_the_link(frames: list[bytes]) -> None:
    guest = Guest()

    async def stuck(connection: Connection) -> None:
        await asyncio.Event().wait()

    guest.send(*frames)
    with pytest.raises(ExceptionGroup) as caught:
        await _run(guest, stuck)
    assert caught.group_contains(GuestViolation)
