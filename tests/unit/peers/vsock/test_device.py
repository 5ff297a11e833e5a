from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.patience import PATIENCE_S
from tests.peers.vsock import VsockDevice
from tests.peers.vsock.packet import DONE_RECEIVING, DONE_SENDING, HEADER, HOST, STREAM, Operation, Packet
from tests.unit.peers.vsock.front_end import CID, FrontEnd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ROOM = 65_536


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vsock-") as name:
        yield Path(name)


@pytest_asyncio.fixture
async def device(folder: Path) -> AsyncIterator[VsockDevice]:
    running = VsockDevice(folder / "vmm", CID, folder / "v", request_s=PATIENCE_S)
    await running.start()
    yield running
    await running.close()
    assert list(folder.glob("v*")) == []


@pytest_asyncio.fixture
async def front(device: VsockDevice, folder: Path) -> AsyncIterator[FrontEnd]:
    front = await FrontEnd.connect(folder / "vmm")
    yield front
    front.close()


async def ask(folder: Path, port: int = 1024) -> Streams:
    reader, writer = await asyncio.open_unix_connection(folder / "v")
    writer.write(b"CONNECT %d\n" % port)
    return reader, writer


async def opened(front: FrontEnd, folder: Path, *, room: int = ROOM) -> tuple[Packet, Streams]:
    """Return the request that the guest saw, and the host's streams."""
    reader, writer = await ask(folder)
    request = await front.expect(Operation.REQUEST)
    await front.transmit(request, Operation.RESPONSE, room=room)
    assert await asyncio.wait_for(reader.readline(), PATIENCE_S) == b"OK %d\n" % request.source_port
    return request, (reader, writer)


async def ends(reader: asyncio.StreamReader) -> bytes:
    """Return what is left to read until the end."""
    return await asyncio.wait_for(reader.read(), PATIENCE_S)


async def test_features_and_configuration(device: VsockDevice, folder: Path) -> None:
    front = await FrontEnd.connect(folder / "vmm")
    (features,) = struct.unpack("<Q", await front.request(1, reply=True))
    assert features == 1 << 32 | 1 << 30 | 1 << 26
    (protocol,) = struct.unpack("<Q", await front.request(15, reply=True))
    assert protocol & (1 << 9 | 1 << 3 | 1 << 1) == 1 << 9 | 1 << 3 | 1 << 1
    answer = await front.request(24, struct.pack("<III8x", 0, 8, 0), reply=True)
    assert answer == struct.pack("<IIIQ", 0, 8, 0, CID)
    assert await front.request(11, struct.pack("<II", 1, 0), reply=True) == struct.pack("<II", 1, 0)
    front.close()


async def test_a_guest_that_was_made_deaf_hears_of_no_host(
    device: VsockDevice, front: FrontEnd, folder: Path
) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    device.deafen()
    device._hosts._request_s = 0.5
    writer.write(b"to the guest")
    await front.transmit(request, Operation.RW, room=ROOM, data=b"to the host")
    assert await asyncio.wait_for(reader.readexactly(11), PATIENCE_S) == b"to the host"
    asked, asking = await ask(folder)
    assert await ends(asked) == b"", "given up after some time"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(front.expect(Operation.REQUEST), 0.3)
    for stream in (writer, asking):
        stream.close()


async def test_a_host_is_told_when_the_guest_accepts_and_bytes_go_both_ways(
    front: FrontEnd, folder: Path
) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    assert request.source_port >= 1 << 30 and request.target_port == 1024
    writer.write(b"to the guest")
    assert (await front.expect(Operation.RW)).data == b"to the guest"
    await front.transmit(request, Operation.RW, room=ROOM, data=b"to the host")
    assert await asyncio.wait_for(reader.readexactly(11), PATIENCE_S) == b"to the host"
    writer.close()


async def test_a_host_is_cut_when_the_guest_refuses_or_says_nothing(
    device: VsockDevice, front: FrontEnd, folder: Path
) -> None:
    front.offer_buffers()
    reader, writer = await ask(folder)
    await front.transmit(await front.expect(Operation.REQUEST), Operation.RST)
    assert await ends(reader) == b""
    device._hosts._request_s = 0.5
    silent, other = await ask(folder)
    request = await front.expect(Operation.REQUEST)
    assert await ends(silent) == b""
    await front.expect(Operation.RST)
    await front.transmit(request, Operation.RESPONSE, room=ROOM)
    assert (await front.expect(Operation.RST)).target_port == 1024
    writer.close()
    other.close()


async def test_hosts_wait_while_no_guest_uses_the_device(device: VsockDevice, folder: Path) -> None:
    device._hosts._request_s = 0.2
    reader, writer = await ask(folder)
    await asyncio.sleep(0.5)
    device._hosts._request_s = PATIENCE_S
    front = await FrontEnd.connect(folder / "vmm")
    front.offer_buffers()
    await front.transmit(await front.expect(Operation.REQUEST), Operation.RESPONSE, room=ROOM)
    assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).startswith(b"OK ")
    writer.close()
    front.close()


async def test_never_more_than_the_guest_takes_and_nothing_is_lost(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    request, (_, writer) = await opened(front, folder, room=10)
    data = bytes(range(95))
    writer.write(data)
    received = b""
    while len(received) < len(data):
        packet = await front.receive()
        front.offer_buffers(1)
        if packet.operation == Operation.RW:
            received += packet.data
            assert len(packet.data) <= 10
        else:
            assert packet.operation == Operation.CREDIT_REQUEST and len(received) % 10 == 0
            assert await front.silent()
            await front.transmit(request, Operation.CREDIT_UPDATE, room=10, forwarded=len(received))
    assert received == data
    writer.close()


async def test_a_guest_without_buffers_is_waited_for(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers(1)
    _, (_, writer) = await opened(front, folder)
    writer.write(b"x" * 100)
    assert await front.silent()
    front.offer_buffers(2, size=HEADER.size + 60)
    assert [len((await front.expect(Operation.RW)).data) for _ in range(2)] == [60, 40]
    writer.close()


async def test_a_host_that_does_not_read_holds_the_guest_up(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    sent = told = 0
    piece = bytes(range(256)) * 64
    while sent - told <= ROOM - len(piece):
        await front.transmit(request, Operation.RW, room=ROOM, data=piece)
        sent += len(piece)
        while not await front.silent():
            told = (await front.expect(Operation.CREDIT_UPDATE)).forwarded
            front.offer_buffers(1)
        assert sent < 10_000_000
    reader._transport.resume_reading()  # type: ignore[attr-defined]
    assert await asyncio.wait_for(reader.readexactly(sent), PATIENCE_S) == piece * (sent // len(piece))
    assert (await front.expect(Operation.CREDIT_UPDATE)).forwarded > told
    writer.close()


async def test_a_guest_that_sends_more_than_it_may_is_cut(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(100):
        await front.transmit(request, Operation.RW, room=ROOM, data=bytes(32_768))
        if not await front.silent():
            packet = await front.receive()
            front.offer_buffers(1)
            if packet.operation == Operation.RST:
                break
    else:
        pytest.fail("the guest was never cut")
    writer.close()


async def test_each_side_may_end_its_half_first(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    writer.write_eof()
    assert (await front.expect(Operation.SHUTDOWN)).flags == DONE_SENDING
    await front.transmit(request, Operation.RW, room=ROOM, data=b"still")
    await front.transmit(request, Operation.SHUTDOWN, flags=DONE_SENDING, room=ROOM)
    await front.expect(Operation.RST)
    assert await ends(reader) == b"still"
    writer.close()
    request, (reader, writer) = await opened(front, folder)
    await front.transmit(request, Operation.SHUTDOWN, flags=DONE_SENDING, room=ROOM)
    assert await ends(reader) == b""
    writer.write(b"still")
    assert (await front.expect(Operation.RW)).data == b"still"
    await front.transmit(request, Operation.SHUTDOWN, flags=DONE_SENDING | DONE_RECEIVING, room=ROOM)
    await front.expect(Operation.RST)
    writer.close()


async def test_a_host_that_closes_is_told_and_a_silent_guest_is_reset(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    _, (_, writer) = await opened(front, folder)
    writer.close()
    assert (await front.expect(Operation.SHUTDOWN)).flags == DONE_SENDING | DONE_RECEIVING
    await front.expect(Operation.RST)


async def test_the_guest_calls_ports_of_the_host(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    called = Packet(HOST, CID, 7000, 55, STREAM, 0)
    await front.transmit(called, Operation.REQUEST, room=ROOM)
    assert (await front.expect(Operation.RST)).source_port == 7000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(3))
        writer.close()

    async with await asyncio.start_unix_server(answer, folder / "v_7000"):
        await front.transmit(called, Operation.REQUEST, room=ROOM)
        await front.expect(Operation.RESPONSE)
        await front.transmit(called, Operation.RW, room=ROOM, data=b"abc")
        assert (await front.expect(Operation.RW)).data == b"abc"
    (folder / "v_7000").unlink(missing_ok=True)


async def usable(front: FrontEnd, folder: Path) -> None:
    """Fail unless a host can still connect; drops what the device says about earlier packets."""
    reader, writer = await ask(folder)
    while (request := await front.receive()).operation != Operation.REQUEST:
        front.offer_buffers(1)
    front.offer_buffers(1)
    await front.transmit(request, Operation.RESPONSE, room=ROOM)
    assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).startswith(b"OK ")
    writer.close()


async def test_nonsense_from_the_guest_harms_only_its_own_connection(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    good = (CID, HOST, request.target_port, request.source_port)
    for raw in (
        b"",
        b"short",
        Packet(*good, STREAM, Operation.RW, data=b"cut").encode()[:-1],
        Packet(9, HOST, *good[2:], STREAM, Operation.RST).encode(),
        Packet(CID, 9, *good[2:], STREAM, Operation.RST).encode(),
    ):
        await front.transmit_raw(raw)
    assert await front.silent()
    await front.transmit_raw(Packet(*good, 2, Operation.RW, data=b"datagram").encode())
    assert (await front.receive()).operation == Operation.RST
    await front.transmit(request, Operation.RW, room=ROOM, data=b"fine")
    assert await asyncio.wait_for(reader.readexactly(4), PATIENCE_S) == b"fine"
    await front.transmit(request, 99)
    await front.expect(Operation.RST)
    assert await ends(reader) == b""
    writer.close()
    await usable(front, folder)


async def test_any_bytes_leave_the_device_usable(front: FrontEnd, folder: Path) -> None:
    chance = random.Random(7)  # noqa: S311
    front.offer_buffers()
    request, (_, writer) = await opened(front, folder)
    for _ in range(300):
        packet = Packet(
            CID,
            HOST,
            chance.choice((request.target_port, 5)),
            chance.choice((request.source_port, 6)),
            chance.choice((STREAM, STREAM, 2)),
            chance.randrange(10),
            chance.getrandbits(32),
            chance.choice((0, 1, ROOM, 0xFFFFFFFF)),
            chance.getrandbits(32),
            chance.randbytes(chance.randrange(50)),
        )
        raw = bytearray(packet.encode())
        if chance.random() < 0.3:
            raw[chance.randrange(len(raw))] = chance.getrandbits(8)
        await front.transmit_raw(bytes(raw))
        while front.waits:
            await front.receive()
            front.offer_buffers(1)
    writer.close()
    await usable(front, folder)


@pytest.mark.parametrize(
    "descriptor",
    [
        (0, 100, 0, 0),
        (0x10_0000, 0xFFFFFFFF, 0, 0),
        (0xFFFF_FFFF_FFFF_FFFF, 44, 0, 0),
        (0x10_0000, 44, 1, 0),
        (0x10_0000, 44, 1, 999),
    ],
    ids=["below", "too long", "overflow", "circle", "index"],
)
async def test_a_queue_with_nonsense_in_it_is_left_and_the_device_lives(
    device: VsockDevice, folder: Path, descriptor: tuple[int, int, int, int]
) -> None:
    front = await FrontEnd.connect(folder / "vmm")
    front.offer(1, descriptor)
    await asyncio.sleep(0.05)
    assert await front.request(11, struct.pack("<II", 0, 0), reply=True) == struct.pack("<II", 0, 0)
    front.close()
    again = await FrontEnd.connect(folder / "vmm")
    again.offer_buffers()
    await usable(again, folder)
    again.close()


def eventfds() -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += "eventfd" in str(entry.readlink())
    return found


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (999, b""),
        (8, b"\0"),
        (8, struct.pack("<II", 7, 8)),
        (9, struct.pack("<IIQQQQ", 0, 0, 1, 2, 3, 0)),
        (12, struct.pack("<Q", 0)),
        (5, struct.pack("<II4Q", 1, 0, 0, 4096, 0, 0)),
        (5, struct.pack("<II", 9, 0)),
        (24, struct.pack("<III", 4, 8, 0)),
    ],
)
async def test_a_vmm_that_talks_nonsense_is_left_for_the_next(
    device: VsockDevice, folder: Path, number: int, body: bytes
) -> None:
    before = eventfds()
    front = await FrontEnd.connect(folder / "vmm")
    await front.request(14, struct.pack("<Q", 0), (front.calls[0],))
    await front.request(number, body, (front.calls[1],) if number == 999 else ())
    assert (
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(front.connection, 1), PATIENCE_S) == b""
    )
    front.close()
    again = await FrontEnd.connect(folder / "vmm")
    again.offer_buffers()
    await usable(again, folder)
    again.close()
    async with asyncio.timeout(PATIENCE_S):
        while eventfds() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_connections_end_with_the_vmm_and_outlive_a_pause(front: FrontEnd, folder: Path) -> None:
    front.offer_buffers()
    request, (reader, writer) = await opened(front, folder)
    for index in range(2):
        await front.request(11, struct.pack("<II", index, 0), reply=True)
    writer.write(b"while paused")
    assert await front.silent()
    await front.begin(base=1)
    assert (await front.expect(Operation.RW)).data == b"while paused"
    await front.transmit(request, Operation.RW, room=ROOM, data=b"back")
    assert await asyncio.wait_for(reader.readexactly(4), PATIENCE_S) == b"back"
    front.connection.close()
    assert await ends(reader) == b""
    writer.close()


async def test_sockets_that_are_there_already_are_an_error_and_stay(folder: Path) -> None:
    (folder / "v").touch()
    with pytest.raises(OSError, match="in use"):
        await VsockDevice(folder / "vmm", CID, folder / "v").start()
    assert [path.name for path in folder.iterdir()] == ["v"]
