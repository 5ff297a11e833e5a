"""What a request may be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox.api import bodies
from tests.unit.api.fakes import (
    HEADERS,
    app_of,
    client_of,
    echo_app,
    fake_service,
    server_settings,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize("announced", [True, False])
async def test_bodies_are_bounded_by_length_and_by_count(announced: bool) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield b"x" * 100

    async with client_of(
        echo_app(fake_service(settings=server_settings(body_bytes=1000))), headers=HEADERS
    ) as client:
        for size, status in ((1000, 200), (1100, 413)):
            answer = await client.post("/v1/echo", content=b"x" * size if announced else pieces(size))
            assert answer.status_code == status
    assert answer.json()["code"] == "payload_too_large"
    assert answer.headers["connection"] == "close"


async def test_a_json_body_that_is_too_large_is_said_to_be() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    headers = HEADERS | {"Content-Type": "application/json"}
    async with client_of(
        app_of(fake_service(settings=server_settings(body_bytes=1000))), headers=headers
    ) as client:
        answer = await client.post("/v1/keys", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_a_body_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALLED_S", 0.05)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3600)

    headers = HEADERS | {"Content-Type": "application/json"}
    async with client_of(app_of(fake_service()), headers=headers) as client:
        answer = await client.post("/v1/keys", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/v1/things/a%00b", "/v1/keys?cursor=%00", "/v1/keys?%00=1"])
async def test_nul_in_an_address(path: str) -> None:
    async with client_of(echo_app(fake_service()), headers=HEADERS) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
