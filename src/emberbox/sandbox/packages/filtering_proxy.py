"""The HTTP proxy of a build VM: its only way out, and only to the package indexes that the settings allow.

`CONNECT` makes a tunnel; requests for an index of plain HTTP are forwarded one for each connection.
The client is hostile code: heads, bytes, time and connections are bounded, and each destination is
counted and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from emberbox.sandbox.packages.proxy_heads import answer, forwarded, tunnel
from emberbox.sandbox.packages.proxy_link import ConnectionReset
from emberbox.sandbox.packages.proxy_rules import CONNECT_S, Destination, ProxyRules, Refused, UpstreamProxy
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


_log = logging.getLogger(__name__)

HEAD_BYTES = 16_384
IDLE_S = 60.0
_PIECE = 65_536
_REASONS = 20


class Client(Protocol):
    """The program's connection."""

    async def read(self) -> bytes:
        """Return what came; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send."""


class FilteringProxy:
    """The proxy of one installation.

    Args:
        rules: Where it goes.
        most_bytes: Over all connections and both directions; beyond it, connections are cut.
    """

    def __init__(self, rules: ProxyRules, most_bytes: int) -> None:
        self._rules = rules
        self._left = most_bytes
        self.exhausted = False
        """Whether it was cut for its bytes."""
        self.received: Counter[str] = Counter()
        """Bytes that came from each host."""
        self.sent: Counter[str] = Counter()
        """Bytes that went to each host."""
        self.refused: Counter[str] = Counter()
        """Requests that were refused, by their reason; few are kept apart."""

    @property
    def downloaded_bytes(self) -> int:
        """What came from all hosts."""
        return self.received.total()

    async def serve(self, client: Client) -> None:
        """Serve one connection to its end; failures are the client's answer."""
        begun = False
        try:
            lines, rest = await self._head(client)
            destination, proxy, head = self._request(lines)
            async with self._way_out(destination, proxy) as (reader, writer):
                if destination.plain:
                    rest = head
                else:
                    await client.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                begun = True
                self._count(self.sent, destination.host, len(rest))
                writer.write(rest)
                await self._splice(client, reader, writer, destination)
        except Refused as refusal:
            self._refuse(str(refusal))
            await client.write(answer(403, str(refusal)))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            told = str(error) or type(error).__name__
            _log.info("a build VM's connection failed: %s", told, extra={"action": "packages.broken"})
            if begun:
                raise ConnectionReset from error
            await client.write(answer(502, f"the package index cannot be reached: {told}"))

    def report(self) -> None:
        """Log what went where."""
        for host in sorted(set(self.received) | set(self.sent)):
            _log.info(
                "a build VM used %s: %d bytes out, %d bytes in",
                host,
                self.sent[host],
                self.received[host],
                extra={
                    "action": "packages.traffic",
                    "host": host,
                    "sent": self.sent[host],
                    "received": self.received[host],
                },
            )
        for reason, count in self.refused.items():
            _log.warning(
                "a build VM was refused %d times: %s", count, reason, extra={"action": "packages.refused"}
            )

    # -- in ---------------------------------------------------------------------------------------

    async def _head(self, client: Client) -> tuple[list[bytes], bytes]:
        data = b""
        async with asyncio.timeout(IDLE_S):
            while b"\r\n\r\n" not in data:
                piece = await client.read()
                data += piece
                if not piece or len(data) > HEAD_BYTES:
                    raise Refused("the request has no end, or is too long")
        head, _, rest = data.partition(b"\r\n\r\n")
        return head.split(b"\r\n"), rest

    def _request(self, lines: list[bytes]) -> tuple[Destination, UpstreamProxy | None, bytes]:
        """Return where a request goes, through which proxy of the host's own, and its head if it is plain."""
        words = lines[0].decode("latin-1").split(" ")
        if len(words) != 3 or not all("!" <= character <= "~" for word in words for character in word):
            raise Refused("the request cannot be read")
        method, target, _ = words
        try:
            if method == "CONNECT":
                parts = urlsplit(f"//{target}")
                destination = self._rules.check(parts.hostname or "", parts.port or 0, plain=False)
                return destination, UpstreamProxy.of(destination), b""
            parts = urlsplit(target)
            destination = self._rules.check(parts.hostname or "", parts.port or 80, plain=True)
        except ValueError as error:
            raise Refused("the request names no host") from error
        if method not in ("GET", "HEAD") or parts.scheme != "http":
            raise Refused(f"{method} requests are not forwarded")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = UpstreamProxy.of(destination)
        return destination, proxy, forwarded(method, path, destination, lines[1:], proxy)

    # -- out --------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _way_out(
        self, destination: Destination, proxy: UpstreamProxy | None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(CONNECT_S):
            if proxy is None:
                reader, writer = await self._direct(destination)
            else:
                reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        try:
            if proxy is not None and not destination.plain:
                await tunnel(reader, writer, destination, proxy)
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _direct(self, destination: Destination) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        failure: OSError | None = None
        for address in await self._rules.addresses(destination):
            try:
                return await asyncio.open_connection(address, destination.port)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    async def _splice(
        self,
        client: Client,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        destination: Destination,
    ) -> None:
        keeper = TaskKeeper()
        keeper.start(self._up(client, writer, destination), "proxy-up")
        try:
            while data := await _within_idle(reader):
                self._count(self.received, destination.host, len(data))
                await client.write(data)
        finally:
            await keeper.cancel()

    async def _up(self, client: Client, writer: asyncio.StreamWriter, destination: Destination) -> None:
        try:
            while data := await client.read():
                # A forwarded request is whole: what its client sends behind it goes nowhere.
                if not destination.plain:
                    self._count(self.sent, destination.host, len(data))
                    writer.write(data)
                    await writer.drain()
            if not destination.plain:
                writer.write_eof()
        except (ConnectionReset, OSError):
            writer.transport.abort()

    def _count(self, counter: Counter[str], host: str, size: int) -> None:
        counter[host] += size
        self._left -= size
        if self._left < 0:
            self.exhausted = True
            raise ConnectionReset

    def _refuse(self, reason: str) -> None:
        known = reason in self.refused or len(self.refused) < _REASONS
        self.refused[reason if known else "and others"] += 1


async def _within_idle(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(IDLE_S):
        return await reader.read(_PIECE)
