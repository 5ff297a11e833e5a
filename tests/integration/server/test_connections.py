"""What a connection may do before it is known who is calling."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emberbox.server import connections
from emberbox.server.connections import Server
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def _app(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(2.0)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(connections, "HEAD_S", 1.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = Server(_app, message_bytes=1000)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.up(serving)
        yield listener.getsockname()[1]
        await server.end(serving)
        serving.result()


async def _answer(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces and return what comes until the other end closes."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def test_one_that_says_nothing_is_closed(port: int) -> None:
    assert await _answer(port) == b""


async def test_one_that_never_ends_its_head_is_closed(port: int) -> None:
    assert await _answer(port, b"GET / HTTP/1.1\r\n", *[b"a: b\r\n"] * 20, pause_s=0.1) == b""


async def test_an_endless_head_is_refused(port: int) -> None:
    answer = await _answer(port, b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 8000 + b"\r\n"] * 60)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


async def test_a_large_head_is_taken(port: int) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/", headers={"x": "y" * 30_000})).status_code == 200


async def test_slow_answers_and_bodies_and_idle_connections_are_left_alone(port: int) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.5)
            yield b"x" * 70_000

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/slow")).status_code == 200
        await asyncio.sleep(2.0)
        answer = await client.post(f"http://127.0.0.1:{port}/", content=slow())
        assert len(answer.content) == 280_000
