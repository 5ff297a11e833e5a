"""One attempt over the network: what is refused, what is followed, and what is cut."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import httpcore
import pytest

from emberbox.config import WebhookSettings
from emberbox.net.names import SystemResolver
from emberbox.service.webhooks.sender import RESPONSE_BYTES, Reply, Sender
from tests.integration.webhooks.receiver import Receiver, answer, receiving
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.net.names import Resolver

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "2606:4700::1111"


class Network(httpcore.AsyncNetworkBackend):
    """Notes what is connected to, and connects to loopback instead."""

    def __init__(self, dead: set[str] | None = None) -> None:
        self.connected: list[str] = []
        self._dead = dead or set()
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        if host in self._dead:
            raise httpcore.ConnectError
        return await self._real.connect_tcp("127.0.0.1", port, timeout)


def names(table: dict[str, Any]) -> Resolver:
    """A resolver; a list of lists is gone through, one list for each question."""
    asked: dict[str, int] = {}

    async def resolve(host: str, port: int) -> list[str]:
        if host not in table:
            raise OSError(host)
        asked[host] = asked.get(host, 0) + 1
        found = table[host]
        if found and isinstance(found[0], list):
            found = found[min(asked[host], len(found)) - 1]
        return [str(one) for one in found]

    return resolve


async def post(
    url: str,
    table: dict[str, Any] | None = None,
    *,
    network: Network | None = None,
    allow_private: bool = False,
    timeout_s: float = PATIENCE_S,
) -> Reply:
    settings = WebhookSettings(allow_private=allow_private, timeout_s=timeout_s)
    sender = Sender(settings, names(table or {}), network=network)
    return await sender.send(url, {"X-Test": "1"}, b'{"a":1}')


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.1",
        "0",
        "private.test",
        "mixed.test",
        "metadata.test",
        "mapped.test",
        "nat64.test",
        "sixtofour.test",
        "cgnat.test",
        "unspecified.test",
        "many.test",
    ],
)
async def test_private_addresses_are_never_connected_to(receiver: Receiver, host: str) -> None:
    network = Network()
    table = {
        "localhost": ["127.0.0.1"],
        "private.test": ["10.0.0.5"],
        "mixed.test": [PUBLIC, "127.0.0.1"],
        "many.test": [PUBLIC] * 33,
        "metadata.test": ["169.254.169.254"],
        "mapped.test": ["::ffff:127.0.0.1"],
        "nat64.test": ["64:ff9b::7f00:1"],
        "sixtofour.test": ["2002:7f00:1::"],
        "cgnat.test": ["100.64.0.1"],
        "unspecified.test": ["0.0.0.0"],  # noqa: S104
    }
    reply = await post(f"http://{host}:{receiver.port}/", table, network=network)
    assert reply.status is None
    assert "not public" in (reply.error or "")
    assert not any(address in (reply.error or "") for address in ("127.", "10.0", "169."))
    assert (network.connected, receiver.connections) == ([], 0)


async def test_the_hosts_own_public_address_is_never_connected_to(receiver: Receiver) -> None:
    network, settings = Network(), WebhookSettings(own_addresses=f"{PUBLIC}, 2606:4700::/64")
    table = {
        "own.test": [PUBLIC],
        "mixed.test": ["192.34.59.7", PUBLIC],
        "mapped.test": [f"::ffff:{PUBLIC}"],
        "six.test": [OTHER_PUBLIC],
    }
    sender = Sender(settings, names(table), network=network)
    for host in (*table, PUBLIC, f"[{OTHER_PUBLIC}]"):
        reply = await sender.send(f"http://{host}:{receiver.port}/", {}, b"")
        assert "own host" in (reply.error or ""), host
    receiver.answers = [answer(307, Location=f"http://{PUBLIC}:{receiver.port}/")]
    table["elsewhere.test"] = ["192.34.59.7"]
    reply = await sender.send(f"http://elsewhere.test:{receiver.port}/", {}, b"")
    assert "own host" in (reply.error or "")
    assert network.connected == ["192.34.59.7"]


async def test_private_addresses_are_called_when_allowed(receiver: Receiver) -> None:
    reply = await post(
        f"http://private.test:{receiver.port}/x", {"private.test": ["127.0.0.1"]}, allow_private=True
    )
    assert (reply.status, reply.error) == (204, None)
    assert receiver.received[0].headers["host"] == f"private.test:{receiver.port}"


async def test_a_name_that_changes_after_the_check_changes_nothing(receiver: Receiver) -> None:
    network = Network()
    table: dict[str, Any] = {"rebinding.test": [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]}
    resolver, settings = names(table), WebhookSettings(timeout_s=PATIENCE_S)
    sender = Sender(settings, resolver, network=network)
    reply = await sender.send(f"http://rebinding.test:{receiver.port}/", {}, b"")
    assert reply.status == 204
    assert network.connected == [PUBLIC]
    assert receiver.received[0].headers["host"].startswith("rebinding.test")
    again = await sender.send(f"http://rebinding.test:{receiver.port}/", {}, b"")
    assert "not public" in (again.error or "")
    assert network.connected == [PUBLIC]


async def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    network = Network(dead={OTHER_PUBLIC})
    reply = await post(
        f"http://two.test:{receiver.port}/", {"two.test": [OTHER_PUBLIC, PUBLIC]}, network=network
    )
    assert (reply.status, network.connected) == (204, [OTHER_PUBLIC, PUBLIC])


async def test_only_redirects_that_keep_the_request_are_followed(receiver: Receiver) -> None:
    for status in (301, 302, 303, 300, 304):
        receiver.answers = [answer(status, Location="/elsewhere")]
        reply = await post(receiver.url, allow_private=True)
        assert reply.error == f"answered {status}; of redirects, only 307 and 308 are followed"
    receiver.received.clear()
    receiver.answers = [
        answer(307, Location="/a"),
        answer(308, Location=f"http://127.0.0.1:{receiver.port}/b?c"),
    ]
    reply = await post(receiver.url, allow_private=True)
    assert (reply.status, reply.error) == (204, None)
    assert [one.line for one in receiver.received] == [
        "POST /hook HTTP/1.1",
        "POST /a HTTP/1.1",
        "POST /b?c HTTP/1.1",
    ]
    assert {one.body for one in receiver.received} == {b'{"a":1}'}


async def test_redirects_end(receiver: Receiver) -> None:
    receiver.always = answer(307, Location="/again")
    reply = await post(receiver.url, allow_private=True)
    assert (reply.error, len(receiver.received)) == ("more than 3 redirects", 4)


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:{port}/", "http://private.test:{port}/", "http://2130706433:{port}/"]
)
async def test_a_redirect_to_a_private_address_is_refused(receiver: Receiver, to: str) -> None:
    network = Network()
    receiver.always = answer(307, Location=to.format(port=receiver.port))
    table = {"public.test": [PUBLIC], "private.test": ["192.168.0.1"]}
    reply = await post(f"http://public.test:{receiver.port}/", table, network=network)
    assert "not public" in (reply.error or "")
    assert (network.connected, len(receiver.received)) == ([PUBLIC], 1)


@pytest.mark.parametrize("location", ["", "ftp://x/", "http://u:p@public.test/", "http://[", "http://a\\b/"])
async def test_a_redirect_to_nowhere_is_a_failure(receiver: Receiver, location: str) -> None:
    receiver.always = answer(308, Location=location)
    reply = await post(receiver.url, allow_private=True)
    assert (reply.error or "").startswith("the redirect cannot be followed")


async def test_a_receiver_that_is_slow_is_given_up(receiver: Receiver) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Slow: ", itertools.repeat(ord("a"))):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    receiver.always = drip
    reply = await post(receiver.url, allow_private=True, timeout_s=0.5)
    assert (reply.status, reply.error) == (None, "no answer within 0.5 s")
    assert reply.duration_ms > 400


async def test_endless_interim_answers_are_given_up(receiver: Receiver) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            await writer.drain()

    receiver.always = endless
    reply = await post(receiver.url, allow_private=True, timeout_s=0.5)
    assert reply.status is None


async def test_endless_headers_are_refused(receiver: Receiver) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"a" * 10_000)
            await writer.drain()

    receiver.always = endless
    reply = await post(receiver.url, allow_private=True, timeout_s=PATIENCE_S)
    assert reply.error == "the answer is not HTTP"


@pytest.mark.parametrize("slow", [True, False])
async def test_an_endless_body_is_cut_and_the_status_counts(receiver: Receiver, slow: bool) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"b" if slow else b"b" * 10_000)
            await writer.drain()
            await asyncio.sleep(0.01 if slow else 0)

    receiver.always = endless
    reply = await post(receiver.url, allow_private=True, timeout_s=PATIENCE_S)
    assert (reply.status, reply.error) == (200, None)
    assert 0 < len(reply.body) <= RESPONSE_BYTES


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
        (b"", "the answer is not HTTP"),
        (b"HTTP/1.1 200", "the answer is not HTTP"),
    ],
)
async def test_what_is_not_http_is_a_failure(receiver: Receiver, raw: bytes, error: str) -> None:
    receiver.always = raw
    reply = await post(receiver.url, allow_private=True)
    assert (reply.status, reply.error) == (None, error)


async def test_names_that_are_not_there_and_ports_that_are_closed(receiver: Receiver) -> None:
    unknown = await post("http://unknown.test/")
    assert unknown.error == "the host's name could not be resolved"
    async with receiving() as gone:
        port = gone.port
    closed = await post(f"http://127.0.0.1:{port}/", allow_private=True)
    assert closed.error == "could not connect"


async def test_a_name_that_is_slow_to_resolve_is_given_up() -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    reply = await Sender(WebhookSettings(timeout_s=0.2), slow).send("http://slow.test/", {}, b"")
    assert reply.error == "no answer within 0.2 s"


async def test_a_compressed_answer_is_not_unpacked(receiver: Receiver) -> None:
    receiver.always = answer(200, b"\x1f\x8b" + b"x" * 50, Content_Encoding="gzip")
    reply = await post(receiver.url, allow_private=True)
    assert reply.body.startswith(b"\x1f\x8b")


async def test_proxies_of_the_environment_are_passed_by(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await post(receiver.url, allow_private=True)).status == 204
        assert proxy.connections == 0


async def test_the_system_resolver_knows_localhost() -> None:
    resolver = SystemResolver(1)
    try:
        assert "127.0.0.1" in await resolver("localhost", 80)
        with pytest.raises(OSError):
            await resolver("name.invalid", 80)
    finally:
        resolver.close()
        resolver.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for hook.test, and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hook.test"
    )
    command += " -addext subjectAltName=DNS:hook.test -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return folder / "both.pem"


@pytest.mark.parametrize(
    ("host", "trusted", "error"),
    [
        ("hook.test", True, None),
        ("other.test", True, "TLS failed: Hostname mismatch"),
        ("hook.test", False, "TLS failed: self-signed certificate"),
    ],
)
async def test_certificates_are_checked_for_the_name(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, error: str | None
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    network = Network()
    try:
        reply = await post(f"https://{host}:{port}/", {host: [PUBLIC]}, network=network)
    finally:
        server.close()
        await server.wait_closed()
    if error is None:
        assert (reply.status, reply.error) == (204, None)
    else:
        assert reply.status is None
        assert (reply.error or "").startswith(error)
    assert receiver.received == [] or error is None
