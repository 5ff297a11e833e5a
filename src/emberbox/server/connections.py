"""The HTTP server, and bounds of what a connection may do before it is known who is calling."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Generator

HEAD_S = 30.0
"""A request's head must be there this long after its connection was opened, or after its first byte."""
HEAD_BYTES = 64 * 1024
"""Largest head of a request, within what the system hands over at once."""
BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than the minute for which proxies keep an idle connection: it is for them to close it."""
FAREWELL_S = 5
"""How long requests that are still under way may take at the end."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 36\r\nconnection: close\r\n\r\nThe head of the request is too large"
)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which would else wait forever for a request, and take a head of any size."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        _send_at_once(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._head_is_there()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Expect the rest of the head."""
        super().on_message_begin()
        self._in_head = True
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Take the request."""
        self._head_is_there()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes, of a head no more than its bound."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def _expect_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_S, self.transport.close)

    def _head_is_there(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._in_head = False
        self._head_bytes = 0


def _send_at_once(transport: asyncio.Transport) -> None:
    """Turn Nagle's algorithm off.

    Under it an answer's body waits some 40 ms until its head is acknowledged. asyncio does so only
    for sockets that were made with the protocol's number, which `socket.create_server` leaves out.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Server(uvicorn.Server):
    """uvicorn, with signals and lifespan left to the caller.

    Args:
        app: The ASGI application.
        message_bytes: Largest message of a WebSocket.
    """

    def __init__(self, app: Any, *, message_bytes: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="websockets-sansio",
                ws_max_size=message_bytes,
                # A few bytes on the wire must not become many in memory.
                ws_per_message_deflate=False,
                # While a program does not read its input nothing is read from its WebSocket, pongs included.
                ws_ping_timeout=None,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=FAREWELL_S,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield

    async def up(self, serving: asyncio.Task[None]) -> None:
        """Wait until requests are answered.

        Args:
            serving: The task that runs `serve`.

        Raises:
            EmberboxError: It ended instead.
        """
        while not self.started:
            if serving.done():
                serving.result()
                raise EmberboxError("the HTTP server did not start; the log says why")
            await asyncio.sleep(0.002)

    async def end(self, serving: asyncio.Task[None]) -> None:
        """Let the requests under way end, within a bound, and stop."""
        self.should_exit = True
        await asyncio.wait({serving}, timeout=FAREWELL_S + 5)
        if not serving.done():
            serving.cancel()
            await asyncio.wait({serving})
