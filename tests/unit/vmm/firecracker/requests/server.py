"""A small HTTP server at a Unix socket whose bytes on the wire are the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NO_CONTENT = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"


def answer(status: int, body: object = None, *, more: str = "") -> bytes:
    """Make an answer with a JSON body, or with the bytes of one."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\n{more}"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )


def fault(message: str) -> bytes:
    """Make the answer to a request that Firecracker refuses."""
    return answer(400, {"fault_message": message})


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Reply = Callable[[Asked], Awaitable[bytes | None]]


@dataclass
class Server:
    """Answers each request with what `reply` makes of it; None hangs up without an answer."""

    reply: Reply
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    tasks: set[asyncio.Task[None] | None] = field(default_factory=set)
    connections: int = 0
    most_connections: int = 0
    taken: int = 0
    under_way: int = 0
    most_under_way: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        self.taken += 1
        self.connections += 1
        self.most_connections = max(self.most_connections, self.connections)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.connections -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await _read(reader)
        self.asked.append(asked)
        self.arrived.release()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            told = await self.reply(asked)
        finally:
            self.under_way -= 1
        if told is None:
            return False
        writer.write(told)
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, json.loads(content) if content else None)


@contextlib.asynccontextmanager
async def serving(path: Path, reply: bytes | Reply | list[bytes | None]) -> AsyncIterator[Server]:
    """Run a server at `path`; `reply` is one answer to all, or answers in turn, or their maker."""
    if isinstance(reply, bytes):
        reply = [reply] * 10_000
    if isinstance(reply, list):
        answers = iter(reply)

        async def in_turn(asked: Asked) -> bytes | None:
            return next(answers)

        reply = in_turn
    server = Server(reply)
    listening = await asyncio.start_unix_server(server.serve, path)
    try:
        yield server
    finally:
        listening.close()
        for task in server.tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in server.tasks if task is not None), return_exceptions=True)
