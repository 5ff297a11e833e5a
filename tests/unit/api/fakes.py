"""What the API's frame uses of a service, without the service."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
from fastapi import Request  # noqa: TC002  FastAPI looks at it when it runs

from emberbox.api.app import create_app
from emberbox.config import ServerSettings, Settings
from emberbox.errors import NotAuthenticated
from tests import accounts

if TYPE_CHECKING:
    from fastapi import FastAPI

    from emberbox.service.service import Service
    from emberbox.store.records import KeyRecord

SECRET = "ember_" + "k" * 43
HEADERS = {"Authorization": f"Bearer {SECRET}"}


def key_record(*scopes: str, **quota: float) -> KeyRecord:
    return accounts.key_record(*(scopes or ("operator", "admin", "run", "read")), hint="kkkk", quota=quota)


class FakeKeys:
    """Knows one key."""

    def __init__(self, record: KeyRecord) -> None:
        self.record = record
        self.asked: list[str] = []

    async def authenticate(self, secret: str) -> KeyRecord:
        self.asked.append(secret)
        if secret != SECRET:
            raise NotAuthenticated("no such key")
        return self.record

    def hold(self, secret: str, record: KeyRecord) -> None:
        return None


class FakeTelemetry:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.errors: list[str] = []

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((method, route, status))

    def error(self, code: str) -> None:
        self.errors.append(code)


def fake_service(record: KeyRecord | None = None, settings: Settings | None = None) -> Any:
    return SimpleNamespace(
        settings=settings or Settings(data=Path("/nonexistent")),
        keys=FakeKeys(record or key_record()),
        telemetry=FakeTelemetry(),
        live=SimpleNamespace(closing=asyncio.Event()),
        waits=None,
    )


def app_of(service: Any) -> FastAPI:
    return create_app(cast("Service", service))


def client_of(app: Any, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(
        app, raise_app_exceptions=False, client=options.pop("address", ("127.0.0.1", 5000))
    )
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8470", **options)


def server_settings(**server: Any) -> Settings:
    return Settings(data=Path("/nonexistent"), server=replace(ServerSettings(), **server))


def echo_app(service: Any) -> FastAPI:
    """The API with two addresses more."""
    app = app_of(service)

    @app.post("/v1/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/v1/things/{thing}")
    async def thing(thing: str) -> str:
        return thing

    return app
