"""The host's end of the link over which a build VM's programs reach the proxy; see spec/proxy-link.md.

The guest is hostile: each frame is checked before it is believed, what waits is bounded by the
credit that was given, and a violation ends the link. Reading never waits for a connection, so none
holds up another.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from emberbox.errors import GuestRequestFailed, GuestViolation
from emberbox.guest import ExecLimits, ExecRequest, GuestClient
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from emberbox.model import Output

_log = logging.getLogger(__name__)

PROXY_ADDRESS = "http://127.0.0.1:3128"
"""Where programs of the guest find the proxy."""
READY_S = 30.0
"""How long its end in the guest may take to start, in seconds."""

HELLO, OPEN, DATA, CREDIT, END, RESET = range(1, 7)
GREETING = b"emberbox-proxy 1"
HEADER = struct.Struct(">IBBH")
PAYLOAD_BYTES = 16_384
WINDOW = 131_072
CONNECTIONS = 128
"""Twice what the agent opens: it may open the next ones before their forerunners are forgotten here."""
LEAVE_S = 30.0
_LIMITS = ExecLimits(wall_ms=None, stdout_keep=None, stderr_keep=4096, output_max=None)
_COUNT = struct.Struct(">I")
_SIZES = {HELLO: (1, 64), OPEN: (0, 0), DATA: (1, PAYLOAD_BYTES), CREDIT: (4, 4), END: (0, 0), RESET: (0, 0)}


class ConnectionReset(Exception):
    """The guest, or the link, ended the connection."""


class Carrier(Protocol):
    """The guest process whose streams carry the link."""

    async def write_stdin(self, data: bytes) -> None:
        """Send to the guest."""

    def output(self) -> AsyncGenerator[Output, None]:
        """Yield what comes from it."""


def frame(connection: int, kind: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return HEADER.pack(connection, kind, 0, len(payload)) + payload


class FrameReader:
    """Cuts a stream of bytes into frames. Raises `GuestViolation` for what can be none."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Take bytes and yield the frames that are complete: connection, kind, payload."""
        self._data += data
        while len(self._data) >= HEADER.size:
            connection, kind, reserved, length = HEADER.unpack_from(self._data)
            least, most = _SIZES.get(kind, (1, 0))
            if reserved or not least <= length <= most:
                raise GuestViolation(
                    f"the build VM's proxy sent a frame of the kind {kind} with {length} bytes"
                )
            if len(self._data) < HEADER.size + length:
                return
            payload = bytes(self._data[HEADER.size : HEADER.size + length])
            del self._data[: HEADER.size + length]
            yield connection, kind, payload


class Connection:
    """One program's connection.

    `read` and `write` as with any stream; `ConnectionReset` when it is over before its end.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], number: int) -> None:
        self._send = send
        self.number = number
        self._inbox = bytearray()
        self._granted = WINDOW
        self._credit = WINDOW
        self._changed = asyncio.Event()
        self._ended = False
        self._said_end = False
        self.reset = False

    def take(self, kind: int, payload: bytes) -> None:
        """Take a frame of the guest. Never waits."""
        if kind == DATA:
            self._granted -= len(payload)
            if self._granted < 0 or self._ended:
                raise GuestViolation("the build VM's proxy sent data that it was given no credit for")
            self._inbox += payload
        elif kind == CREDIT:
            self._credit += _COUNT.unpack(payload)[0]
            if self._credit > WINDOW:
                raise GuestViolation("the build VM's proxy gave more credit than there is")
        elif kind == END:
            self._ended = True
        else:
            self.reset = True
        self._changed.set()

    async def read(self) -> bytes:
        """Return what came; empty at the end."""
        while not self._inbox and not self._ended:
            await self._wait()
        data = bytes(self._inbox)
        self._inbox.clear()
        if data and not self._ended:
            self._granted += len(data)
            await self._send(frame(self.number, CREDIT, _COUNT.pack(len(data))))
        return data

    async def write(self, data: bytes) -> None:
        """Send to the guest; waits while it does not read."""
        view = memoryview(data)
        while view:
            while not self._credit:
                await self._wait()
            if self.reset:
                raise ConnectionReset
            piece = view[: min(self._credit, PAYLOAD_BYTES)]
            self._credit -= len(piece)
            await self._send(frame(self.number, DATA, bytes(piece)))
            view = view[len(piece) :]

    async def end(self) -> None:
        """Say that nothing more is sent. Repeating is harmless."""
        if not self._said_end and not self.reset:
            self._said_end = True
            await self._send(frame(self.number, END))

    async def leave(self) -> None:
        """Let the guest have what was sent, and wait for its own end.

        The connection is cut when that takes too long.
        """
        await self.end()
        try:
            async with asyncio.timeout(LEAVE_S):
                while await self.read():
                    pass
        except TimeoutError:
            await self._send(frame(self.number, RESET))

    async def _wait(self) -> None:
        if not self.reset:
            self._changed.clear()
            await self._changed.wait()
        if self.reset:
            raise ConnectionReset


class ProxyLink:
    """Serves the connections of one build VM.

    Args:
        carrier: The process `emberbox-agent proxy` in the guest.
        serve: Serves one connection; when it returns, the connection is over. What it raises ends
            that connection alone.
    """

    def __init__(self, carrier: Carrier, serve: Callable[[Connection], Awaitable[None]]) -> None:
        self._carrier = carrier
        self._serve = serve
        self._open: dict[int, Connection] = {}
        self._last = 0
        self.ready = asyncio.Event()
        """Set once programs can connect."""

    async def run(self) -> None:
        """Carry frames until the guest's end is gone. Raises `GuestViolation`; no connection is left then."""
        reader = FrameReader()
        async with asyncio.TaskGroup() as group, aclosing(self._carrier.output()) as output:
            try:
                async for piece in output:
                    if piece.stream == "stdout":
                        for connection, kind, payload in reader.feed(piece.data):
                            self._take(group, connection, kind, payload)
            finally:
                for left in list(self._open.values()):
                    left.take(RESET, b"")

    def _take(self, group: asyncio.TaskGroup, number: int, kind: int, payload: bytes) -> None:
        if not self.ready.is_set():
            if (number, kind, payload) != (0, HELLO, GREETING):
                raise GuestViolation("the build VM's proxy did not say hello")
            self.ready.set()
        elif kind == OPEN:
            self._admit(group, number)
        elif kind == HELLO or not 1 <= number <= self._last:
            raise GuestViolation(
                f"the build VM's proxy sent a frame for the connection {number}, which it never opened"
            )
        elif (connection := self._open.get(number)) is not None:
            connection.take(kind, payload)

    def _admit(self, group: asyncio.TaskGroup, number: int) -> None:
        if number != self._last + 1 or len(self._open) >= CONNECTIONS:
            raise GuestViolation("the build VM's proxy opened a connection out of order, or too many")
        self._last = number
        connection = self._open[number] = Connection(self._carrier.write_stdin, number)
        group.create_task(self._attend(connection), name=f"proxy-{number}")

    async def _attend(self, connection: Connection) -> None:
        try:
            await self._serve(connection)
            await connection.leave()
        except ConnectionReset:
            if not connection.reset:
                await self._carrier.write_stdin(frame(connection.number, RESET))
        finally:
            del self._open[connection.number]


@asynccontextmanager
async def proxied(guest: GuestClient, serve: Callable[[Connection], Awaitable[None]]) -> AsyncIterator[None]:
    """Have the guest's programs reach the proxy for as long as the context lasts.

    They connect to a process of the agent, the guest's end of the link.

    Args:
        guest: The build VM's.
        serve: Serves one connection; as for `ProxyLink`.

    Raises:
        GuestRequestFailed: It did not start.
    """
    request = ExecRequest(argv=("/proc/1/exe", "proxy"), user="root", cwd="/", stdin=True, limits=_LIMITS)
    process = await guest.start(request)
    link, keeper = ProxyLink(process, serve), TaskKeeper()
    try:
        carrying = keeper.start(_carry(link), "proxy-link")
        ready = keeper.start(link.ready.wait(), "proxy-ready")
        await asyncio.wait({carrying, ready}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        if not link.ready.is_set():
            raise GuestRequestFailed("internal", "the build VM's proxy did not start")
        yield
    finally:
        await keeper.cancel()
        process.abandon()


async def _carry(link: ProxyLink) -> None:
    """Run the link to its end. A guest that breaks it has lost its way out, and installs nothing more."""
    try:
        await link.run()
    except Exception as error:
        _log.warning("the proxy of a build VM ended: %s", error, extra={"action": "packages.proxy_ended"})
