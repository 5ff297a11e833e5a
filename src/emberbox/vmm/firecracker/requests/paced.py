"""The connections of Firecracker's API, held to what a Firecracker may cost that its guest has taken over.

An answer may be cut into a byte for each piece, or be preceded by others without end. The HTTP
library goes through all that it was given in one go: it is given little at a time, with a turn for
others in between, and no more than an answer may have in all.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PIECE_BYTES = 1_024
"""Bytes that are gone through without a turn for others."""


class _PacedStream(httpcore.AsyncNetworkStream):
    """One connection. What is written begins the next exchange."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, most_bytes: int) -> None:
        self._stream = stream
        self._most_bytes = most_bytes
        self._read_bytes = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await asyncio.sleep(0)
        data = await self._stream.read(min(max_bytes, PIECE_BYTES), timeout)
        self._read_bytes += len(data)
        if self._read_bytes > self._most_bytes:
            raise httpcore.RemoteProtocolError(f"an answer of more than {self._most_bytes} bytes")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._read_bytes = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _PacedBackend(httpcore.AnyIOBackend):
    """Makes such connections."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await super().connect_unix_socket(path, timeout, socket_options)
        return _PacedStream(stream, self._most_bytes)


def paced_transport(socket: Path, *, connections: int, most_bytes: int) -> httpx.AsyncHTTPTransport:
    """Return a transport to this socket alone: no proxy and no encryption.

    Args:
        socket: Where to.
        connections: How many at once.
        most_bytes: What one answer may have on the wire, whatever it is made of.
    """
    transport = httpx.AsyncHTTPTransport(verify=_unused_encryption(), trust_env=False)
    # The library has no other way to hand it connections of one's own.
    transport._pool = httpcore.AsyncConnectionPool(
        uds=str(socket),
        max_connections=connections,
        max_keepalive_connections=1,
        keepalive_expiry=None,
        http2=False,
        network_backend=_PacedBackend(most_bytes),
    )
    return transport


@functools.cache
def _unused_encryption() -> ssl.SSLContext:
    # Each client would make one of its own otherwise, and load the host's certificates into it.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
