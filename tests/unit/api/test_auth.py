"""Who is calling, and how often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.unit.api.fakes import (
    HEADERS,
    SECRET,
    client_of,
    echo_app,
    fake_service,
    key_record,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": f"bearer  {SECRET} "},
        {"X-API-Key": SECRET},
        {"Authorization": "Basic eDp5", "X-API-Key": SECRET},
    ],
)
async def test_a_key_comes_in_either_header(headers: dict[str, str]) -> None:
    async with client_of(echo_app(fake_service())) as client:
        assert (await client.get("/v1/me", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({}, False),
        ({"Authorization": "Bearer wrong"}, True),
        ({"Authorization": SECRET}, False),
        ({"X-API-Key": ""}, True),
    ],
)
async def test_without_a_good_key_nothing_is_told(headers: dict[str, str], given: bool) -> None:
    async with client_of(echo_app(fake_service()), headers=headers) as client:
        for path in ("/v1/me", "/v1/nothing/there"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
            assert answer.headers["www-authenticate"].startswith('Bearer realm="emberbox"')
            assert ("invalid_token" in answer.headers["www-authenticate"]) == given


async def test_the_body_of_a_stranger_is_not_read() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        raise AssertionError("the body was read")

    async with client_of(echo_app(fake_service())) as client:
        assert (await client.post("/v1/echo", content=endless())).status_code == 401


async def test_public_addresses_ask_nobody() -> None:
    service = fake_service()
    async with client_of(echo_app(service)) as client:
        assert (await client.get("/openapi.json")).status_code == 200
    assert service.keys.asked == []


async def test_a_scope_that_is_missing() -> None:
    async with client_of(echo_app(fake_service(key_record("read"))), headers=HEADERS) as client:
        answer = await client.get("/v1/keys")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


async def test_failures_are_limited_by_address_and_good_keys_are_not() -> None:
    app = echo_app(fake_service())
    async with client_of(app, address=("10.0.0.1", 1)) as stranger:
        statuses = [(await stranger.get("/v1/me")).status_code for _ in range(150)]
        last = await stranger.get("/v1/me")
        assert set(statuses) == {401, 429}
        assert int(last.headers["retry-after"]) >= 1
        assert (await stranger.get("/v1/me", headers=HEADERS)).status_code == 200
    async with client_of(app, address=("10.0.0.2", 1)) as other:
        assert (await other.get("/v1/me")).status_code == 401


async def test_a_key_has_a_rate_and_each_answer_tells_of_it() -> None:
    app = echo_app(fake_service(key_record(burst=2, requests_per_s=0.01)))
    async with client_of(app, headers=HEADERS) as client:
        answers = [await client.get("/v1/me") for _ in range(3)]
        missing = await client.get("/v1/nothing")
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=2;w=200'
    assert [answer.headers["ratelimit"].partition(";t")[0] for answer in answers] == [
        f'"requests";r={n}' for n in (1, 0, 0)
    ]
    assert 90 <= int(answers[2].headers["retry-after"]) <= 100
    assert answers[2].json()["retryable"] is True
    assert missing.status_code == 429


async def test_a_rate_of_zero_is_no_bound() -> None:
    record = replace(key_record(requests_per_s=0, burst=1), team_quota={"requests_per_s": 0})
    async with client_of(echo_app(fake_service(record)), headers=HEADERS) as client:
        answers = [await client.get("/v1/me") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers
