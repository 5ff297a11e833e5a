"""The other side of the device: what QEMU and a guest's driver do, over memory of its own."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import struct
from typing import TYPE_CHECKING

from tests.patience import PATIENCE_S
from tests.peers.vsock.packet import HOST, STREAM, Operation, Packet

if TYPE_CHECKING:
    from pathlib import Path

CID = 3
SIZE = 8
_USER = 0x7F00_0000_0000
_GUEST = 0x10_0000
_MEMORY = 1 << 20
_RX, _TX = 0, 1
_BUFFER = 4096
_RING = 0x1000


class FrontEnd:
    """A guest with a receive and a transmit queue of 8 buffers each. Guest memory begins at 1 MiB.

    Args:
        connection: Connected to the device.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.descriptor = os.memfd_create("guest")
        os.truncate(self.descriptor, _MEMORY)
        self.memory = mmap.mmap(self.descriptor, _MEMORY)
        self.kicks = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.calls = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.available = [0, 0]
        self.used = [0, 0]

    @classmethod
    async def connect(cls, backend: Path) -> FrontEnd:
        """Connect to a device and hand over memory and queues; the receive queue is empty."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(backend))
        front = cls(connection)
        await front.begin()
        return front

    def close(self) -> None:
        self.connection.close()
        self.memory.close()
        for descriptor in (self.descriptor, *self.kicks, *self.calls):
            os.close(descriptor)

    async def request(
        self, number: int, body: bytes = b"", descriptors: tuple[int, ...] = (), *, reply: bool = False
    ) -> bytes:
        """Send a request; returns the body of the answer where there is one."""
        socket.send_fds(self.connection, [struct.pack("<III", number, 1, len(body)) + body], descriptors)
        if not reply:
            return b""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            answered, flags, size = struct.unpack("<III", await loop.sock_recv(self.connection, 12))
            assert (answered, flags) == (number, 5)
            return await loop.sock_recv(self.connection, size) if size else b""

    async def begin(self, base: int = 0) -> None:
        await self.request(2, struct.pack("<Q", 1 << 32 | 1 << 30))
        await self.request(5, struct.pack("<II4Q", 1, 0, _GUEST, _MEMORY, _USER, 0), (self.descriptor,))
        for index in (_RX, _TX):
            table = _USER + self.table(index)
            await self.request(8, struct.pack("<II", index, SIZE))
            await self.request(10, struct.pack("<II", index, base))
            await self.request(9, struct.pack("<IIQQQQ", index, 0, table, table + 0x400, table + 0x200, 0))
            await self.request(13, struct.pack("<Q", index), (self.calls[index],))
            await self.request(12, struct.pack("<Q", index), (self.kicks[index],))
            await self.request(18, struct.pack("<II", index, 1))

    @staticmethod
    def table(index: int) -> int:
        """Where a queue's descriptors are; what is available follows at 0x200, what is used at 0x400."""
        return _RING * (index + 1)

    def offer(self, index: int, *buffers: tuple[int, int, int, int]) -> None:
        """Make a chain available, from slot 0 of the queue on.

        A buffer is its descriptor's address, size, flags and next.
        """
        for slot, descriptor in enumerate(buffers):
            struct.pack_into("<QIHH", self.memory, self.table(index) + 16 * slot, *descriptor)
        self.publish(index, 0)

    def publish(self, index: int, head: int) -> None:
        at = self.table(index) + 0x200
        struct.pack_into("<H", self.memory, at + 4 + 2 * (self.available[index] % SIZE), head)
        self.available[index] += 1
        struct.pack_into("<H", self.memory, at + 2, self.available[index] & 0xFFFF)
        os.eventfd_write(self.kicks[index], 1)

    def offer_buffers(self, count: int = SIZE, size: int = _BUFFER) -> None:
        """Give the device `count` buffers to receive into."""
        for _ in range(count):
            slot = self.available[_RX] % SIZE
            descriptor = (_GUEST + 0x10000 + slot * _BUFFER, size, 2, 0)
            struct.pack_into("<QIHH", self.memory, self.table(_RX) + 16 * slot, *descriptor)
            self.publish(_RX, slot)

    async def transmit_raw(self, raw: bytes) -> None:
        """Send bytes as a packet, and wait until the device has taken them."""
        at = 0x40000
        self.memory[at : at + len(raw)] = raw
        self.offer(_TX, (_GUEST + at, len(raw), 0, 0))
        async with asyncio.timeout(PATIENCE_S):
            while self._used(_TX) != self.available[_TX] & 0xFFFF:
                await self._interrupt(_TX)

    async def transmit(
        self,
        answered: Packet,
        operation: int,
        *,
        flags: int = 0,
        room: int = 0,
        forwarded: int = 0,
        data: bytes = b"",
    ) -> None:
        """Send a packet of the connection that `answered` belongs to."""
        ends = (CID, HOST, answered.target_port, answered.source_port)
        await self.transmit_raw(Packet(*ends, STREAM, operation, flags, room, forwarded, data).encode())

    async def receive(self) -> Packet:
        """Return the next packet from the device."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.waits:
                await self._interrupt(_RX)
        at = self.table(_RX) + 0x400 + 4 + 8 * (self.used[_RX] % SIZE)
        slot, size = struct.unpack_from("<II", self.memory, at)
        self.used[_RX] += 1
        start = 0x10000 + slot * _BUFFER
        packet = Packet.decode(self.memory[start : start + size])
        assert packet is not None
        return packet

    async def expect(self, operation: Operation) -> Packet:
        """Return the next packet, which must be of that kind."""
        packet = await self.receive()
        assert packet.operation == operation, packet
        assert (packet.source_cid, packet.target_cid, packet.kind) == (HOST, CID, STREAM)
        return packet

    async def silent(self) -> bool:
        """Whether the device has nothing to say."""
        await asyncio.sleep(0.05)
        return not self.waits

    @property
    def waits(self) -> bool:
        """Whether there is a packet from the device."""
        return self._used(_RX) != self.used[_RX] & 0xFFFF

    async def _interrupt(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        loop.add_reader(self.calls[index], lambda: None if called.done() else called.set_result(None))
        try:
            await called
        finally:
            loop.remove_reader(self.calls[index])
        os.eventfd_read(self.calls[index])

    def _used(self, index: int) -> int:
        (used,) = struct.unpack_from("<H", self.memory, self.table(index) + 0x400 + 2)
        return int(used)
