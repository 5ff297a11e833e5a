"""The API's socket: HTTP/1.1 with keep-alive, and one request at a time over all connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.faults import Fault
from tests.peers.firecracker.routes import checked, find

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.firecracker.controller import Controller
    from tests.peers.firecracker.metrics import Metrics
    from tests.peers.firecracker.options import Options
    from tests.peers.firecracker.output import Log

LONGEST_BODY = 51_200
MOST_CONNECTIONS = 10
_LONGEST_HEAD = 16_384
_GARBAGE = b"\x00\xffHTTP/9.9 banana {]\r\n\r\n" + bytes(range(256))
_REASONS = {503: "Service Unavailable"}
_DROPPED = "\nAll previous unanswered requests will be dropped."
"""In the text of a string, as it is: what holds it is no JSON."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: bytes
    close: bool


class _Unreadable(Exception):
    """What came is no request; the answer is none of the API's."""


class Server:
    """Serves the API at a Unix socket that must not exist.

    Args:
        controller: Does what is asked.
        options: How this peer behaves.
        log: Gets a line for each request.
        metrics: Counts requests.
        on_end: Called with an exit code when an answer was the last.
    """

    def __init__(
        self,
        controller: Controller,
        options: Options,
        log: Log,
        metrics: Metrics,
        on_end: Callable[[int], None],
    ) -> None:
        self._controller = controller
        self._options = options
        self._log = log
        self._metrics = metrics
        self._end = on_end
        self._turn = asyncio.Lock()
        self._connections = 0
        self._server: asyncio.Server | None = None

    async def start(self, path: str) -> None:
        """Begin to listen. Raises `OSError`."""
        self._server = await asyncio.start_unix_server(
            self._serve, path, limit=_LONGEST_HEAD, start_serving=True
        )

    def close(self) -> None:
        """Stop listening; as with Firecracker, the socket's file stays."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections > MOST_CONNECTIONS:
                await _send(writer, 503, {"fault_message": "Too many open connections."})
                return
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._connections -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; returns whether the connection goes on."""
        try:
            request = await _read(reader, writer)
        except _Unreadable as error:
            await _write(writer, 400, f'{{ "error": "{error}{_DROPPED}" }}'.encode())
            # Who still sends must be able to end it, and to read the answer.
            writer.write_eof()
            while await reader.read(_LONGEST_HEAD):
                pass
            return False
        name = f"{request.method} {request.path}"
        async with self._turn:
            if self._options.hangs(name):
                await asyncio.Event().wait()
            await asyncio.sleep(self._options.delay_s(name))
            if self._options.garbage(name):
                writer.write(_GARBAGE)
                await writer.drain()
                return False
            status, answer = await self._answer(request)
            await _send(writer, status, answer)
        if self._controller.ending is not None:
            self._end(self._controller.ending)
            return False
        return not request.close

    async def _answer(self, request: _Request) -> tuple[int, dict[str, Any] | None]:
        method = request.method
        self._log.write(
            f"The API server received a {method.capitalize()} request on {request.path!r}.", thread="fc_api"
        )
        group = {"PUT": "put_api_requests", "PATCH": "patch_api_requests"}.get(method)
        if group is not None:
            self._metrics.add(group, "count")
        try:
            route, parameter = find(method, request.path)
            body = checked(
                route, parameter, _parsed(request), self._options.unknown_fields, sent=bool(request.body)
            )
            answer = await self._controller.run(route, body)
        except Fault as fault:
            if group is not None:
                self._metrics.add(group, "fails")
            self._log.write(
                f"Received Error. Status code: {fault.status}. Message: {fault.message}",
                level="error",
                thread="fc_api",
            )
            return fault.status, {"fault_message": fault.message}
        return (204, None) if answer is None else (200, answer)


def _parsed(request: _Request) -> Any:
    if not request.body:
        return None
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Fault(
            "An error occurred when deserializing the json body of a request: "
            f"{_spoken(request.body, error)}."
        ) from error


def _spoken(body: bytes, error: Exception) -> str:
    """Return what a reader of JSON in Rust says of it."""
    if body.strip() in (b"{", b"["):
        kind = "an object" if body.strip() == b"{" else "a list"
        return f"EOF while parsing {kind} at line 1 column {len(body)}"
    return f"{error} at line 1 column {getattr(error, 'pos', 0)}"


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Request:
    """Read a request.

    Raises `_Unreadable` for what is not one, `IncompleteReadError` at the end of the connection.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise _Unreadable("Invalid HTTP request: the headers are too long.") from error
    line, *rest = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _Unreadable("Invalid HTTP request.")
    if words[0] not in ("GET", "PUT", "PATCH", "DELETE"):
        raise _Unreadable("Invalid HTTP Method: Unsupported HTTP method.")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rest if row)
    }
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or "transfer-encoding" in headers:
        raise _Unreadable("Invalid HTTP request: its length is not told as a number.")
    if int(length) > LONGEST_BODY:
        raise _Unreadable(
            f"Request payload with size {length} is larger than the limit of {LONGEST_BODY} allowed by "
            "server."
        )
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n")
    body = await reader.readexactly(int(length))
    return _Request(words[0], words[1], body, close=headers.get("connection", "").lower() == "close")


async def _send(writer: asyncio.StreamWriter, status: int, answer: dict[str, Any] | None) -> None:
    await _write(writer, status, b"" if answer is None else json.dumps(answer).encode())


async def _write(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n"
    head += "Server: Firecracker API\r\nConnection: keep-alive\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()
