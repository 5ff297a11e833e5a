"""Receivers of webhooks: one that takes all that comes, and one that never answers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Receivers:
    """Where news goes.

    Args:
        port: Of who takes it, on 127.0.0.1.
        silent_port: Of who never answers, on every loopback address.
    """

    port: int = 0
    silent_port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def heard_of(self, text: str) -> None:
        """Wait until something was told of."""
        async with asyncio.timeout(PATIENCE_S):
            while text.encode() not in self.heard:
                self.news.clear()
                await self.news.wait()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [
                line.split(b":")[1] for line in head.lower().split(b"\r\n") if b"content-length:" in line
            ]
            self.heard += await reader.readexactly(int(lengths[0]))
            self.news.set()
            writer.write(_ANSWER)
            await writer.drain()
        writer.close()

    async def ignore(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what comes and say nothing, until the other side has had enough."""
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        writer.close()


@contextlib.asynccontextmanager
async def receivers() -> AsyncIterator[Receivers]:
    """Serve both on free ports."""
    both = Receivers()
    async with (
        await asyncio.start_server(both.take, "127.0.0.1", 0) as taking,
        await asyncio.start_server(both.ignore, "0.0.0.0", 0) as silent,  # noqa: S104  every loopback address
    ):
        both.port = taking.sockets[0].getsockname()[1]
        both.silent_port = silent.sockets[0].getsockname()[1]
        yield both
