"""Bodies that come in: how many, how much of them, and how slowly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.api import bodies
from emberbox.config import CeilingSettings, QuotaSettings, ServerSettings, Settings
from tests import accounts
from tests.patience import until
from tests.unit.api.fakes import HEADERS, client_of, echo_app, fake_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from fastapi import FastAPI

OTHER = {"Authorization": "Bearer ember_" + "o" * 43}


def app_with(
    *, slowest: int = 0, quota: QuotaSettings | None = None, ceiling: CeilingSettings | None = None
) -> FastAPI:
    """The API with a key of one team, and one of another."""
    settings = replace(
        Settings(data=Path("/nonexistent")),
        server=ServerSettings(body_bytes=1000, body_bytes_per_s=slowest),
        quota=quota or QuotaSettings(),
        ceiling=ceiling or CeilingSettings(),
    )
    service = fake_service(settings=settings)
    known, keys = service.keys.record, service.keys

    async def authenticate(secret: str) -> Any:
        return known if secret.endswith("k") else accounts.key_record(id="key_1", team_id="team_other")

    keys.authenticate = authenticate
    return echo_app(service)


class Stalled:
    """Requests whose bodies have begun and do not go on, until `end`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.begun = 0
        self.end = asyncio.Event()
        self.answers: list[asyncio.Task[httpx.Response]] = []

    async def add(self, size: int, *, announced: int | None = None) -> None:
        """Begin one, of which `size` bytes come at once; without an announced length it comes in pieces."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * size
            self.begun += 1
            await self.end.wait()
            if announced is not None:
                yield b"x" * (announced - size)

        headers = {} if announced is None else {"Content-Length": str(announced)}
        before = self.begun
        post = self.client.post("/v1/echo", content=pieces(), headers=headers)
        self.answers.append(asyncio.create_task(post))
        await until(lambda: self.begun > before or self.answers[-1].done())


@asynccontextmanager
async def stalled(app: FastAPI, headers: dict[str, str] = HEADERS) -> AsyncIterator[Stalled]:
    async with client_of(app, headers=headers) as client:
        held = Stalled(client)
        try:
            yield held
        finally:
            held.end.set()
            await asyncio.gather(*held.answers)


@pytest.mark.parametrize(
    "bound",
    [QuotaSettings(open_bodies=3), QuotaSettings(body_bytes=1500)],
    ids=["open_bodies", "body_bytes"],
)
async def test_a_team_holds_its_share_of_open_bodies(bound: QuotaSettings) -> None:
    app = app_with(quota=bound)
    async with stalled(app) as held:
        for _ in range(3):
            await held.add(1, announced=500)
        answer = await held.client.post("/v1/echo", content=b"x" * 500)
        assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
        assert ("open_bodies" if bound.open_bodies == 3 else "body_bytes") in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        async with client_of(app, headers=OTHER) as other:
            assert (await other.post("/v1/echo", content=b"x" * 500)).status_code == 200
            assert (await other.get("/v1/things/a")).status_code == 200
        assert (await held.client.get("/v1/things/a")).status_code == 200, "it has no body"
    async with client_of(app, headers=HEADERS) as client:
        for _ in range(4):
            assert (await client.post("/v1/echo", content=b"x" * 500)).status_code == 200, "all is given back"


async def test_what_comes_in_pieces_counts_as_it_comes() -> None:
    app = app_with(quota=QuotaSettings(body_bytes=1500))
    async with stalled(app) as held:
        await held.add(900)
        await held.add(500)
        await held.add(200)
        assert held.answers[-1].result().status_code == 429
        assert held.answers[-1].result().headers["connection"] == "close"
        await held.add(100)
    assert [answer.result().status_code for answer in held.answers] == [200, 200, 429, 200]


async def test_all_teams_together_have_a_ceiling() -> None:
    for ceiling in (CeilingSettings(open_bodies=2), CeilingSettings(body_bytes=1000)):
        app = app_with(ceiling=ceiling)
        async with stalled(app) as held, stalled(app, OTHER) as other:
            await held.add(1, announced=500)
            await other.add(1, announced=500)
            answer = await other.client.post("/v1/echo", content=b"x")
            assert (answer.status_code, answer.json()["code"]) == (503, "capacity_exhausted")
            assert "ceiling." in answer.json()["detail"]
            assert answer.headers["retry-after"]


async def test_a_body_that_comes_too_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is a sign of life, and yet the whole takes too long."""
    monkeypatch.setattr(bodies, "GRACE_S", 0.1)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x"
            await asyncio.sleep(0.02)

    async with client_of(app_with(slowest=1000), headers=HEADERS) as client:
        answer = await client.post("/v1/echo", content=drip())
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")
    assert "1000 bytes a second" in answer.json()["detail"]


async def test_what_comes_fast_enough_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_S", 0.1)

    async def steady() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100
            await asyncio.sleep(0.02)

    # What the sender is allowed grows with what came: at 1 byte a second each piece earns it 100 s.
    async with client_of(app_with(slowest=1), headers=HEADERS) as client:
        assert (await client.post("/v1/echo", content=steady())).json() == 1000
