"""The WebSocket of a job: output out, input in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from socket import SO_RCVBUF, SOL_SOCKET, create_connection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.integration.jobs_api.speaking import (
    caller,
    ended,
    followers,
    memory,
    run,
    submit,
    until,
    until_running,
)
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from socket import socket

    import httpx
    from fastapi import FastAPI

    from emberbox.config import Settings
    from emberbox.service.service import Service
    from tests.integration.conftest import Served

ECHO = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: print('signalled', flush=True))
print('ready', flush=True)
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line); sys.stdout.flush()
print('bye')
"""
LATER = """
import os, sys, time
print('ready', flush=True)
while not os.path.exists({gate!r}): time.sleep(0.02)
print(len(sys.stdin.buffer.read()))
"""


@pytest.fixture
def database_kind() -> str:
    """Streams do not depend on the database."""
    return "sqlite"


@asynccontextmanager
async def stream(
    served: Served, job: str, query: str = "", **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"{served.url.replace('http', 'ws', 1)}/v1/jobs/{job}/stream{query}"
    options.setdefault("additional_headers", served.headers)
    async with connect(url, proxy=None, max_size=None, **options) as socket:
        yield socket


def narrow_connection(served: Served) -> socket:
    """A connection whose system keeps little of what is not read: by itself it may keep all of it."""
    address = urlsplit(served.url)
    connection = create_connection((address.hostname, address.port))
    connection.setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
    connection.setblocking(False)
    return connection


async def heard(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        message: dict[str, Any] = json.loads(await socket.recv())
        return message


async def output(socket: ClientConnection, wanted: str) -> None:
    """Wait until exactly this output has come."""
    seen = ""
    while seen != wanted:
        message = await heard(socket)
        assert message["type"] == "output", message
        seen += message["data"]
        assert wanted.startswith(seen)


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def start(client: httpx.AsyncClient, code: str = ECHO, **options: Any) -> str:
    return str((await submit(client, code, interactive=True, **options))["id"])


async def closed(socket: ClientConnection) -> int | None:
    with pytest.raises(websockets.ConnectionClosed):
        await asyncio.wait_for(socket.recv(), PATIENCE_S)
    return socket.close_code


async def test_a_conversation(served: Served, app: FastAPI) -> None:
    async with caller(served) as client:
        job = await start(client)
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            await say(socket, type="stdin", data="grüß dich\n")
            await output(socket, "grüß dich\n")
            await say(socket, type="stdin", base64=base64.b64encode(b"more\n").decode())
            await output(socket, "more\n")
            await socket.send(b"raw\n")
            await output(socket, "raw\n")
            await say(socket, type="signal", signal="SIGUSR1")
            await output(socket, "signalled\n")
            await say(socket, type="close_stdin")
            await output(socket, "bye\n")
            end = await heard(socket)
            assert (end["type"], end["job"]["id"], end["job"]["status"]) == ("end", job, "succeeded")
            assert end["job"]["stdout"].endswith("bye\n")
            assert await closed(socket) == 1000
        await until(lambda: followers(app) == 0)


async def test_a_job_that_waits_for_its_turn(served: Served) -> None:
    async with caller(served) as client:
        busy = [await start(client) for _ in range(12)]
        job = await start(client)
        async with stream(served, job) as socket:
            await socket.send(b"early\n")
            for other in busy:
                await client.post(f"/v1/jobs/{other}/cancel")
            await output(socket, "ready\nearly\n")
            await say(socket, type="cancel")
            while (message := await heard(socket))["type"] == "output":
                pass
            assert message["job"]["status"] == "cancelled"


async def test_a_cancelled_job_that_waits(served: Served) -> None:
    async with caller(served) as client:
        busy = [await start(client) for _ in range(12)]
        job = await start(client)
        async with stream(served, job) as socket:
            await say(socket, type="cancel")
            end = await heard(socket)
            assert (end["type"], end["job"]["status"]) == ("end", "cancelled")
        for other in busy:
            await client.post(f"/v1/jobs/{other}/cancel")


async def test_output_from_a_place_on_and_in_base64(served: Served) -> None:
    async with caller(served) as client:
        job = await start(client)
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            await say(socket, type="stdin", base64=base64.b64encode(b"a\xff\n").decode())
            await heard(socket)
            await say(socket, type="close_stdin")
        await ended(client, job)
        async with stream(served, job, "?encoding=base64") as socket:
            messages = []
            while (message := await heard(socket))["type"] == "output":
                messages.append(message)
        assert b"".join(base64.b64decode(m["data"]) for m in messages) == b"ready\na\xff\nbye\n"
        assert len(messages) > 1
        async with stream(served, job, f"?after={messages[0]['id']}") as socket:
            assert (await heard(socket))["id"] == messages[1]["id"]


async def test_browsers_name_the_key_as_a_protocol(served: Served) -> None:
    async with caller(served) as client:
        job = await start(client)
        protocols = ["emberbox", f"bearer.{served.secret}"]
        async with stream(served, job, additional_headers={}, subprotocols=protocols) as socket:
            assert socket.subprotocol == "emberbox"
            await output(socket, "ready\n")
        await client.post(f"/v1/jobs/{job}/cancel")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"additional_headers": {}}, 401, "not_authenticated"),
        ({"additional_headers": {"X-API-Key": "ember_wrong"}}, 401, "not_authenticated"),
        ({"additional_headers": {}, "subprotocols": ["emberbox", "bearer.wrong"]}, 401, "not_authenticated"),
        ({"origin": "https://evil.example"}, 403, "not_allowed"),
        ({"origin": "null"}, 403, "not_allowed"),
        ({"origin": "http://["}, 403, "not_allowed"),
    ],
)
async def test_who_is_not_let_in(served: Served, options: dict[str, Any], status: int, code: str) -> None:
    async with caller(served) as client:
        job = (await run(client, "print(1)"))["id"]
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with stream(served, job, **options):
                pass
        assert caught.value.response.status_code == status
        assert json.loads(caught.value.response.body or b"")["code"] == code


async def test_pages_of_this_host_are_let_in(served: Served) -> None:
    async with caller(served) as client:
        job = (await run(client, "print(1)"))["id"]
        async with stream(served, job, origin=served.url) as socket:
            assert (await heard(socket))["type"] == "output"


class TestPagesOfOthers:
    """A service that pages of two other sites may call."""

    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        origins = "https://one.example, https://two.example/"
        return replace(service_settings, server=replace(service_settings.server, cors_origins=origins))

    async def test_those_that_are_named_are_let_in(self, served: Served) -> None:
        async with caller(served) as client:
            job = (await run(client, "print(1)"))["id"]
            for origin in ("https://one.example", "https://two.example"):
                async with stream(served, job, origin=origin) as socket:
                    assert (await heard(socket))["type"] == "output"
            with pytest.raises(websockets.InvalidStatus):
                async with stream(served, job, origin="https://three.example"):
                    pass


async def test_jobs_of_others_and_places_that_are_none(
    served: Served, make_key: Callable[..., Awaitable[str]]
) -> None:
    async with caller(served) as client:
        job = (await run(client, "print(1)"))["id"]
        theirs = {"X-API-Key": await make_key("admin", team="other")}
        for job_id, query, headers, status in [
            (job, "", theirs, 404),
            ("job_00000000000000000000000000", "", served.headers, 404),
            ("x", "", served.headers, 404),
            (job, "?after=garbage", served.headers, 422),
            (job, "?after=1.1", served.headers, 422),
            (job, "?encoding=ebcdic", served.headers, 403),
        ]:
            with pytest.raises(websockets.InvalidStatus) as caught:
                async with stream(served, job_id, query, additional_headers=headers):
                    pass
            assert caught.value.response.status_code == status, (job_id, query)


async def test_watchers_may_not_speak(
    served: Served, service: Service, make_key: Callable[..., Awaitable[str]]
) -> None:
    async with caller(served) as client:
        job = await start(client)
        watcher = await service.keys.authenticate(served.secret)
        await make_key("admin", "operator")
        await service.keys.update(watcher.id, scopes=["read"])
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            await say(socket, type="stdin", data="x")
            assert (await heard(socket))["code"] == "not_allowed"
            assert await closed(socket) == 1008


@pytest.mark.parametrize(
    ("message", "code", "close"),
    [
        ("no json", "invalid_input", 1003),
        ("[1]", "invalid_input", 1003),
        ("[" * 100_000, "invalid_input", 1003),
        ('{"type": "dance"}', "invalid_input", 1003),
        ("{}", "invalid_input", 1003),
        ('{"type": "stdin"}', "invalid_input", 1003),
        ('{"type": "stdin", "data": 1}', "invalid_input", 1003),
        ('{"type": "stdin", "base64": "***"}', "invalid_input", 1003),
        ('{"type": "signal", "signal": "SIGNONE"}', "invalid_input", 1003),
        ('{"type": "signal", "signal": 9999}', "invalid_input", 1003),
        ('{"type": "signal", "signal": true}', "invalid_input", 1003),
        (b"x" * ((1 << 20) + 1), "payload_too_large", 1009),
        ('{"data": "' + "x" * (1 << 21) + '"}', "payload_too_large", 1009),
    ],
)
async def test_messages_that_are_none(served: Served, message: str | bytes, code: str, close: int) -> None:
    async with caller(served) as client:
        job = await start(client)
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            await socket.send(message)
            error = await heard(socket)
            assert (error["type"], error["code"]) == ("error", code)
            assert await closed(socket) == close
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_input_for_a_job_that_takes_none(served: Served) -> None:
    async with caller(served) as client:
        job = (await submit(client, "import time; print('ready', flush=True); time.sleep(30)"))["id"]
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            await socket.send(b"x")
            error = await heard(socket)
            assert (error["type"], error["code"]) == ("error", "conflict")
            assert "interactive" in error["detail"]
            await say(socket, type="signal", signal=15)
            end = await heard(socket)
            assert (end["type"], end["job"]["reason"], end["job"]["signal"]) == ("end", "signalled", 15)


async def test_a_program_that_does_not_read_holds_the_sender_back(served: Served, tmp_path: Path) -> None:
    total, piece = 24 << 20, bytes(256 << 10)
    async with caller(served) as client:
        job = await start(client, LATER.format(gate=str(tmp_path / "gate")))
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(total // len(piece)):
                    await socket.send(piece)
                    sent += len(piece)
                await say(socket, type="close_stdin")

            sending = asyncio.create_task(send())
            await asyncio.sleep(0.8)
            # What the kernel and a message on its way hold; not all of it.
            assert sent < total - (4 << 20)
            (tmp_path / "gate").touch()
            await sending
            await output(socket, f"{total}\n")
            assert (await heard(socket))["job"]["status"] == "succeeded"


async def test_who_hangs_up_is_noticed_and_the_job_goes_on(served: Served, app: FastAPI) -> None:
    async with caller(served) as client:
        job = await start(client)
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            assert followers(app) == 1
        await until(lambda: followers(app) == 0)
        assert (await client.get(f"/v1/jobs/{job}")).json()["status"] == "running"
        async with stream(served, job) as socket:
            await output(socket, "ready\n")
            await say(socket, type="close_stdin")
        assert (await ended(client, job))["status"] == "succeeded"


async def test_heartbeats(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.api.streaming.pulse.HEARTBEAT_S", 0.05)
    async with caller(served) as client:
        job = await start(client)
        await until_running(client, job)
        async with stream(served, job) as socket:
            seen: list[str] = []
            while seen.count("heartbeat") < 3 or "output" not in seen:
                seen.append((await heard(socket))["type"])
            assert (seen.count("output"), set(seen)) == (1, {"output", "heartbeat"})
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_who_does_not_listen_costs_no_memory(served: Served, app: FastAPI) -> None:
    flood = "import sys\nsys.stdin.readline()\nfor n in range(120): sys.stdout.write('x' * 65536)"
    async with caller(served) as client:
        job = await start(client, flood)
        await until_running(client, job)
        async with contextlib.AsyncExitStack() as stack:
            # A client that takes four messages and then no more from its connection.
            for _ in range(20):
                await stack.enter_async_context(
                    stream(
                        served,
                        job,
                        sock=narrow_connection(served),
                        max_queue=4,
                        ping_interval=None,
                        close_timeout=0.1,
                    )
                )
            await until(lambda: followers(app) == 20)
            before = memory()
            live = served.service.live.get(job)
            assert live is not None
            await live.write_stdin(b"go\n")
            assert (await ended(client, job))["status"] == "succeeded"
            await asyncio.sleep(0.3)
            # Twenty times 7.5 MiB would be 150 MiB; each client itself holds four messages.
            assert memory() - before < 80 * 1024 * 1024
            assert followers(app) == 20
        await until(lambda: followers(app) == 0)
