"""Heads of HTTP messages as the filtering proxy reads and writes them."""

from __future__ import annotations

import asyncio

from emberbox.sandbox.packages.proxy_rules import CONNECT_S, Destination, UpstreamProxy

_DROPPED = frozenset(
    b"connection proxy-connection keep-alive proxy-authorization te trailer upgrade"
    b" content-length transfer-encoding expect host".split()
)
"""Fields of a request that concern its connection, or that the proxy writes itself."""


async def tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, destination: Destination, proxy: UpstreamProxy
) -> None:
    """Have the host's own proxy connect to the destination. Raises `OSError` where it does not."""
    target = netloc(destination)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *_authorized(proxy)]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    async with asyncio.timeout(CONNECT_S):
        reply = await reader.readuntil(b"\r\n\r\n")
    status = reply.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or status[1] != b"200":
        shown = b" ".join(status)[:100].decode("latin-1")
        raise OSError(f"the host's own proxy answered {shown}")


def forwarded(
    method: str, path: str, destination: Destination, headers: list[bytes], proxy: UpstreamProxy | None
) -> bytes:
    """Return the head of a request that is forwarded, as its server or another proxy wants it.

    It asks the server to close, since one connection is one request.
    """
    host = netloc(destination)
    target = path if proxy is None else f"http://{host}{path}"
    own = [f"{method} {target} HTTP/1.1", *_authorized(proxy), f"Host: {host}"]
    kept = [
        line
        for line in headers
        if line.partition(b":")[0].strip().lower() not in _DROPPED and not line[:1].isspace()
    ]
    return b"\r\n".join([*(line.encode("latin-1") for line in own), *kept, b"Connection: close", b"", b""])


def netloc(destination: Destination) -> str:
    """Return host and port as they stand in a head."""
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    return f"{host}:{destination.port}"


def _authorized(proxy: UpstreamProxy | None) -> list[str]:
    return [f"Proxy-Authorization: {proxy.authorization}"] if proxy and proxy.authorization else []


def answer(status: int, text: str) -> bytes:
    """Return a whole answer of the proxy itself."""
    name = {403: "Forbidden", 502: "Bad Gateway"}[status]
    body = f"emberbox: {text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {name} by emberbox\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    )
    return f"{head}Connection: close\r\n\r\n".encode() + body
