"""The proxy of a build VM goes where the settings say, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from emberbox.config import PackageSettings
from emberbox.errors import InvalidSettings
from emberbox.runtimes.package_tools.pip import TOOL
from emberbox.sandbox.packages.filtering_proxy import FilteringProxy
from emberbox.sandbox.packages.proxy_link import ConnectionReset
from emberbox.sandbox.packages.proxy_rules import Destination, ProxyRules, Refused, UpstreamProxy
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INDEX = "https://index.example/simple"


class Client:
    """A program in the build VM."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.answer = b""
        self.quiet = asyncio.Event()

    async def read(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        await self.quiet.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.answer += data

    async def end(self) -> None:
        return


@asynccontextmanager
async def index(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server of plain HTTP that answers all the same, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture(autouse=True)
def no_proxy_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _proxy(most_bytes: int = 1000, **settings: str) -> FilteringProxy:
    chosen = {"pip_index": INDEX, "hosts": "files.example", **settings}
    return FilteringProxy(ProxyRules(PackageSettings(**chosen), TOOL), most_bytes)  # type: ignore[arg-type]


async def _ask(proxy: FilteringProxy, *pieces: bytes) -> bytes:
    client = Client(*pieces)
    async with asyncio.timeout(PATIENCE_S):
        await proxy.serve(client)
    return client.answer


async def test_a_plain_index_is_forwarded_one_request_for_each_connection() -> None:
    async with index(b"HTTP/1.1 200 OK\r\n\r\nhello") as (port, asked):
        proxy = _proxy(pip_index=f"http://127.0.0.1:{port}/simple")
        head = (
            f"GET http://127.0.0.1:{port}/simple/six/?a=1 HTTP/1.1\r\n"
            "Host: evil\r\nConnection: keep-alive\r\nAccept: x\r\n\r\n"
        )
        answer = await _ask(
            proxy, head[:30].encode(), head[30:].encode() + b"GET http://other/ HTTP/1.1\r\n\r\n"
        )
    assert answer == b"HTTP/1.1 200 OK\r\n\r\nhello"
    head = f"GET /simple/six/?a=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    assert asked == [f"{head}Accept: x\r\nConnection: close\r\n\r\n".encode()]
    assert proxy.downloaded_bytes == len(answer)


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT 169.254.169.254:80 HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        "CONNECT example.org:443 HTTP/1.1",
        "CONNECT files.example:80 HTTP/1.1",
        "CONNECT files.example.evil.example:443 HTTP/1.1",
        "CONNECT files.example@evil.example:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "CONNECT files.example:99999 HTTP/1.1",
        "CONNECT index.example HTTP/1.1",
        "GET http://169.254.169.254/latest/meta-data/ HTTP/1.1",
        "GET http://index.example/simple/ HTTP/1.1",
        "GET /etc/passwd HTTP/1.1",
        "GET ftp://index.example/ HTTP/1.1",
        "nonsense",
        "GET http://[ HTTP/1.1",
    ],
)
async def test_other_places_are_refused(request_line: str) -> None:
    proxy = _proxy()
    answer = await _ask(proxy, f"{request_line}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert proxy.refused.total() == 1
    assert not proxy.sent


async def test_only_reading_requests_are_forwarded() -> None:
    proxy = _proxy(pip_index="http://127.0.0.1:1/simple")
    answer = await _ask(proxy, b"POST http://127.0.0.1:1/simple/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    assert b"POST requests are not forwarded" in answer


async def test_a_head_without_an_end_is_refused() -> None:
    assert (await _ask(_proxy(), b"GET " + b"x" * 20_000)).startswith(b"HTTP/1.1 403")


async def test_an_index_that_is_not_there_is_told() -> None:
    answer = await _ask(
        _proxy(pip_index="http://127.0.0.1:1/simple"), b"GET http://127.0.0.1:1/simple/ HTTP/1.1\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 502")


async def test_more_bytes_than_allowed_cut_the_connection() -> None:
    async with index(b"x" * 2000) as (port, _):
        proxy = _proxy(pip_index=f"http://127.0.0.1:{port}/simple")
        with pytest.raises(ConnectionReset):
            await _ask(proxy, f"GET http://127.0.0.1:{port}/simple/ HTTP/1.1\r\n\r\n".encode())
    assert proxy.exhausted


async def test_tunnels_go_through_the_proxy_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async with index(b"HTTP/1.1 200 OK\r\n\r\nTLS") as (port, asked):
        monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{port}")
        answer = await _ask(_proxy(), b"CONNECT files.example:443 HTTP/1.1\r\n\r\n")
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nTLS"
    assert asked[0].startswith(b"CONNECT files.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==\r\n" in asked[0]


def test_the_hosts_exceptions_from_its_proxy_are_kept() -> None:
    there = Destination("index.example", 443, plain=False)
    assert UpstreamProxy.of(there, {"HTTPS_PROXY": "http://p:1", "no_proxy": "other"}) == UpstreamProxy(
        "p", 1, None
    )
    assert UpstreamProxy.of(there, {"HTTPS_PROXY": "http://p:1", "no_proxy": ".example"}) is None
    assert UpstreamProxy.of(there, {}) is None


async def test_a_host_with_private_addresses_is_refused_unless_it_is_the_index() -> None:
    rules = ProxyRules(PackageSettings(pip_index="http://localhost:1234/simple", hosts="localhost"), TOOL)
    assert await rules.addresses(rules.check("localhost", 1234, plain=True))
    with pytest.raises(Refused, match="private"):
        await rules.addresses(rules.check("localhost", 443, plain=False))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("metadata", ["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "169.254.169.254"])
async def test_a_name_does_not_lead_to_the_metadata_address(
    monkeypatch: pytest.MonkeyPatch, metadata: str, private: bool
) -> None:
    addresses = {"alone.example": [metadata], "mixed.example": ["8.8.8.8", metadata]}

    def found(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(None, None, 6, "", (address, port)) for address in addresses[host]]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    settings = PackageSettings(pip_index=INDEX, hosts=",".join(addresses), allow_private=private)
    rules = ProxyRules(settings, TOOL)
    for host in addresses:
        with pytest.raises(Refused, match="private"):
            await rules.addresses(rules.check(host, 443, plain=False))


@pytest.mark.parametrize("value", ["ftp://x/", "index.example", "https://me:pass@index.example/simple"])
def test_an_index_must_be_an_address_without_credentials(value: str) -> None:
    with pytest.raises(InvalidSettings):
        PackageSettings(pip_index=value)
