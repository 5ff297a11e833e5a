"""A lean HTTP connection, so that the service is measured and not its client."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools

from emberbox.bench.samplers.base import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_S = 60.0
"""Bound of one answer, whatever the service does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)


class Connection(asyncio.Protocol):
    """One kept-alive connection, for one request at a time. Made by `connect`.

    Args:
        host: Value of the Host header.
        secret: API key.
    """

    def __init__(self, host: str, secret: str) -> None:
        self._head = f"Host: {host}\r\nAuthorization: Bearer {secret}\r\n"
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self._take: Callable[[bytes], None] = self._body.append

    async def request(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request and return its answer, whatever its status.

        Raises:
            BenchError: The connection was lost, or nothing came within `ANSWER_S`.
        """
        return await self._exchange(method, path, body, self._body.append, ANSWER_S)

    async def follow(self, path: str, take: Callable[[bytes], None], *, timeout_s: float) -> Answer:
        """Get `path` and hand each piece of the body to `take` as it comes; returns at its end.

        Raises as `request` does.
        """
        return await self._exchange("GET", path, None, take, timeout_s)

    async def expect(self, status: int, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the JSON of its answer.

        Raises `BenchError` when its status is another, too.
        """
        answer = await self.request(method, path, body)
        if answer.status != status:
            text = answer.body[:300].decode("utf-8", "replace")
            raise BenchError(f"{method} {path} was answered with {answer.status} instead of {status}: {text}")
        return answer.json() if answer.body else None

    async def _exchange(
        self, method: str, path: str, body: object, take: Callable[[bytes], None], timeout_s: float
    ) -> Answer:
        if self._transport is None or self._transport.is_closing():
            raise BenchError("the service closed the connection")
        data = b"" if body is None else json.dumps(body).encode()
        about = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{about}\r\n"
        self._body.clear()
        self._take = take
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + data)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer
        except TimeoutError:
            self.close()
            raise BenchError(f"{method} {path} was not answered within {timeout_s:g} s") from None

    def close(self) -> None:
        """Close the connection. Repeating is harmless."""
        if self._transport is not None:
            self._transport.close()

    # -- what asyncio and the parser call ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits for an answer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(
                BenchError(f"the service closed the connection: {exc or 'without an answer'}")
            )

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(error)
            self.close()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, without what chunks put around it."""
        self._take(body)

    def on_message_complete(self) -> None:
        """Give the answer to who waits for it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))


async def connect(url: str, secret: str) -> Connection:
    """Open a connection to a service. Raises `BenchError`."""
    parts = urlsplit(url)
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(parts.netloc, secret), parts.hostname or "", parts.port or 80
        )
    except OSError as error:
        raise BenchError(f"{url} cannot be reached: {error.strerror or error}") from error
    return connection
