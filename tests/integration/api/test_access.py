"""Who may call what: every address, without a key, with one that ended, and with too small a scope."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from emberbox.api.app import create_app
from emberbox.store.database import now_us
from tests.integration.api.routes import PUBLIC, Address, addresses
from tests.integration.api.samples import make_some_of_each
from tests.unit.api.fakes import HEADERS, app_of, client_of, fake_service, key_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    from emberbox.service.service import Service
    from tests.integration.conftest import Served

ALL = addresses(app_of(fake_service()))
CLOSED = [address for address in ALL if address.template not in PUBLIC]
LISTS = ["/v1/scripts", "/v1/jobs", "/v1/webhooks", "/v1/deliveries"]
WITHOUT = {
    "read": ["none"],
    "run": ["read", "operator"],
    "admin": ["read", "run", "operator"],
    "operator": ["read", "run", "admin"],
}
"""All that a key may have besides a scope and what implies it."""


def _name(address: Address) -> str:
    return f"{address.method} {address.template}"


def test_there_is_something_to_look_at() -> None:
    assert len(CLOSED) > 40
    assert {address.template for address in ALL} >= PUBLIC
    assert {scope for address in CLOSED for scope in address.scopes} == set(WITHOUT)


@pytest.mark.parametrize("address", CLOSED, ids=_name)
def test_every_address_names_the_scope_that_it_needs(address: Address) -> None:
    assert address.scopes


@pytest.mark.parametrize(
    "address", [a for a in CLOSED if a.method != "GET" and a.method != "WEBSOCKET"], ids=_name
)
def test_what_changes_something_needs_more_than_read(address: Address) -> None:
    assert {"run", "admin"} & set(address.scopes)


@pytest.mark.parametrize("address", [a for a in CLOSED if a.method != "WEBSOCKET"], ids=_name)
async def test_a_smaller_scope_is_not_enough(address: Address) -> None:
    service = fake_service()
    app = app_of(service)
    async with client_of(app, headers=HEADERS) as client:
        for scope in address.scopes:
            service.keys.record = key_record(*WITHOUT[scope])
            answer = await client.request(address.method, address.path())
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


async def _answers(
    client: httpx.AsyncClient, found: list[Address], headers: dict[str, str]
) -> dict[str, int]:
    return {
        _name(address): (await client.request(address.method, address.path(), headers=headers)).status_code
        for address in found
        if address.method != "WEBSOCKET"
    }


def _callers(app: FastAPI) -> httpx.AsyncClient:
    """A client at many addresses, so that refusals are not limited."""
    numbers = iter(range(1, 100_000))

    async def from_elsewhere(scope: Any, receive: Any, send: Any) -> None:
        number = next(numbers)
        await app(
            {**scope, "client": (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)}, receive, send
        )

    transport = httpx.ASGITransport(from_elsewhere, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8470")


async def test_every_address_is_closed_to_keys_that_are_not_good(service: Service, app: FastAPI) -> None:
    await service.keys.create("another admin", ["admin"])
    revoked, revoked_secret = await service.keys.create("revoked", ["admin"])
    expired, expired_secret = await service.keys.create("expired", ["admin"], expires_at=now_us() + 1_500_000)
    rotated, rotated_secret = await service.keys.create("rotated", ["admin"])
    async with _callers(app) as client:
        for secret in (revoked_secret, expired_secret, rotated_secret):
            assert (await client.get("/v1/me", headers={"X-API-Key": secret})).status_code == 200
        await service.keys.revoke(revoked.id)
        await service.keys.rotate(rotated.id)
        found = [address for address in addresses(create_app(service)) if address.template not in PUBLIC]
        bad: list[dict[str, str]] = [{}, {"X-API-Key": "ember_" + "x" * 43}]
        bad += [
            {"Authorization": f"Bearer {secret}"}
            for secret in (revoked_secret, expired_secret, rotated_secret)
        ]
        await asyncio.sleep(max(0.0, ((expired.expires_at or 0) - now_us()) / 1e6))
        for headers in bad:
            answers = await _answers(client, found, headers)
            assert {name: status for name, status in answers.items() if status != 401} == {}


async def test_public_addresses_are_open(app: FastAPI) -> None:
    async with _callers(app) as client:
        assert {path: (await client.get(path)).status_code for path in PUBLIC} == dict.fromkeys(PUBLIC, 200)


async def test_no_address_shows_or_changes_what_another_team_has(
    app: FastAPI, app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]]
) -> None:
    ids = {name: made[-1] for name, made in (await make_some_of_each(app_client, 1)).items()}
    before = await _listed(app_client)
    other = {"X-API-Key": await make_key("admin", team="other")}
    owned = [
        address
        for address in CLOSED
        if address.method != "WEBSOCKET" and any(f"{{{name}}}" in address.template for name in ids)
    ]
    assert len(owned) >= 24
    async with _callers(app) as client:
        for address in owned:
            theirs = await client.request(address.method, address.path(**ids), headers=other, json={})
            nobody_s = await client.request(address.method, address.path(), headers=other, json={})
            assert theirs.status_code == nobody_s.status_code == 404, _name(address)
            assert _detail(theirs) == _detail(nobody_s), _name(address)
        client.headers.update(other)
        assert await _listed(client) == {path: [] for path in LISTS}
    assert await _listed(app_client) == before
    assert all(before.values())


async def _listed(client: httpx.AsyncClient) -> dict[str, list[str]]:
    return {path: [item["id"] for item in (await client.get(path)).json()["items"]] for path in LISTS}


def _detail(answer: httpx.Response) -> str:
    return re.sub(r"_[0-9a-z]{26}", "_ID", answer.json()["detail"])


async def test_a_websocket_is_refused_before_it_opens(
    served: Served, make_key: Callable[..., Awaitable[str]]
) -> None:
    path = next(address for address in CLOSED if address.method == "WEBSOCKET").path()
    url = served.url.replace("http", "ws", 1) + path
    for headers, status in (
        ({}, 401),
        ({"X-API-Key": "nonsense"}, 401),
        ({"X-API-Key": await make_key("read")}, 404),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, additional_headers=headers):
                await asyncio.sleep(0.05)
        assert caught.value.response.status_code == status
