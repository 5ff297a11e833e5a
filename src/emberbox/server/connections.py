"""The HTTP server, and bounds of what a connection may do before it is known who is calling."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from emberbox.api.problems import problem
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Generator

    from websockets.http11 import Request

HEAD_S = 30.0
"""A request's head must be there this long after its connection was opened, or after its first byte."""
HEAD_BYTES = 64 * 1024
"""Largest head of a request, within what the system hands over at once."""
BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than the minute for which proxies keep an idle connection: it is for them to close it."""
FAREWELL_S = 5
"""How long requests that are still under way may take at the end."""


def _refusal(status: int, code: str, detail: str) -> bytes:
    """Return a whole answer, for what comes to no application: a problem document, as all others are."""
    answer = problem(status=status, code=code, detail=detail, headers={"connection": "close"}, scope={})
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


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
                detail = f"the head of the request is larger than {HEAD_BYTES} bytes"
                self.transport.write(_refusal(431, "head_too_large", detail))
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        detail = "what came is no request that HTTP/1.1 knows; look at the bytes that were sent"
        self.transport.write(_refusal(400, "malformed_request", detail))
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


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which would else tell of a wrong handshake in plain text."""

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that cannot be read is refused, which uvicorn would leave without an answer."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            self._refuse()

    def handle_connect(self, event: Request) -> None:
        """Open the WebSocket, or refuse it."""
        if self.conn.accept(event).status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            super().handle_connect(event)
        else:
            self._refuse()

    def _refuse(self) -> None:
        self.handshake_complete = self.close_sent = True
        detail = "this is no handshake of a WebSocket, version 13 (RFC 6455, 4.1), or its head is too large"
        self.transport.write(_refusal(400, "malformed_request", detail))
        self.transport.close()


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
                ws=WebSocketConnection,
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
