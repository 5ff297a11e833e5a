"""Requests byte for byte, as no client library would send them, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.patience import PATIENCE_S


@dataclass(frozen=True)
class Answer:
    """What came until the server closed the connection; `status` is 0 where that was nothing."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def exchange(url: str, data: bytes) -> Answer:
    """Send bytes, and return what comes back until the other end closes."""
    parts = urlsplit(url)
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        received = b""
        try:
            # It may refuse, and close, before it has all.
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
                while piece := await reader.read(65_536):
                    received += piece
        finally:
            writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    return Answer(int(first.split()[1]), headers, body)


def written(method: str, target: str, headers: list[tuple[str, bytes]], body: bytes = b"") -> bytes:
    """Return a request's bytes; the connection is closed behind it."""
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: here", b"Connection: close"]
    lines += [name.encode() + b": " + value for name, value in headers]
    lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join([*lines, b"", body])


def check(answer: Answer, about: object) -> None:
    """Check that an answer was meant: no failure of the service's own, and with a code where it refuses."""
    told = f"{about!r:.3000}\n{answer.status} {answer.headers} {answer.body[:2000]!r}"
    assert 0 < answer.status < 500, told
    if answer.status < 400 or (answer.status == 400 and b"exec_duration" in answer.body):
        return
    assert answer.headers["content-type"] == "application/problem+json", told
    problem = answer.json()
    assert problem["status"] == answer.status, told
    assert problem["code"], told
    assert problem["detail"], told
    assert answer.body.isascii(), told
