"""Messages of the vhost-user protocol. Source: QEMU's "Vhost-user Protocol" (docs/interop/vhost-user)."""

from __future__ import annotations

import asyncio
import enum
import os
import socket
import struct
from dataclasses import dataclass, field

_HEADER = struct.Struct("<III")
_VERSION, _REPLY, _NEED_REPLY = 0x1, 0x4, 0x8
_MAX_BODY = 4096
_MAX_DESCRIPTORS = 16


class Request(enum.IntEnum):
    """The requests that are understood."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    GET_CONFIG = 24
    SET_CONFIG = 25
    SET_STATUS = 39
    GET_STATUS = 40


class BadMessage(Exception):
    """The front-end said something that cannot be understood."""


@dataclass(slots=True)
class Message:
    """One request. Descriptors that nobody took are closed by `close`."""

    request: int
    body: bytes
    needs_reply: bool = False
    descriptors: list[int] = field(default_factory=list)

    def unpack(self, form: str) -> tuple[int, ...]:
        """Return the body's numbers; raises `BadMessage` when it is too short."""
        try:
            return struct.unpack_from(form, self.body)
        except struct.error as error:
            raise BadMessage(f"request {self.request} has a body of {len(self.body)} bytes") from error

    def take_descriptor(self) -> int:
        """Return the next descriptor, which is then the caller's; raises `BadMessage` without one."""
        if not self.descriptors:
            raise BadMessage(f"request {self.request} came without a descriptor")
        return self.descriptors.pop(0)

    def close(self) -> None:
        """Close what is left of the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())


class MessageStream:
    """The front-end's connection, message by message."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    async def receive(self) -> Message | None:
        """Return the next request; None when the front-end has gone. Raises `BadMessage`."""
        descriptors: list[int] = []
        try:
            header = await self._exactly(_HEADER.size, descriptors)
            if header is None:
                return None
            request, flags, size = _HEADER.unpack(header)
            if flags & 0x3 != _VERSION or size > _MAX_BODY:
                raise BadMessage(f"request {request} with flags {flags:#x} and {size} bytes")
            body = await self._exactly(size, descriptors)
            if body is None:
                return None
            message = Message(request, body, bool(flags & _NEED_REPLY), list(descriptors))
            descriptors.clear()
            return message
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def reply(self, request: int, body: bytes) -> None:
        """Answer a request."""
        await asyncio.get_running_loop().sock_sendall(
            self._connection, _HEADER.pack(request, _VERSION | _REPLY, len(body)) + body
        )

    async def _exactly(self, size: int, descriptors: list[int]) -> bytes | None:
        data = b""
        while len(data) < size:
            piece, fresh = await self._some(size - len(data))
            descriptors += fresh
            if not piece:
                return None
            data += piece
        return data

    async def _some(self, size: int) -> tuple[bytes, list[int]]:
        while True:
            try:
                piece, descriptors, _, _ = socket.recv_fds(self._connection, size, _MAX_DESCRIPTORS)
            except BlockingIOError:
                await _readable(self._connection)
            except ConnectionError:
                return b"", []
            else:
                return piece, descriptors


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(connection)
