from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Request, WebSocket  # noqa: TC002  FastAPI looks at them when it runs
from fastapi.responses import StreamingResponse

from emberbox.api import middleware
from emberbox.config import ServerSettings, Settings
from emberbox.errors import Conflict
from tests.unit.api.fakes import HEADERS, SECRET, app_of, client_of, fake_service, key_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI


def _settings(**server: Any) -> Settings:
    return Settings(data=Path("/nonexistent"), server=replace(ServerSettings(), **server))


def _app(service: Any) -> FastAPI:
    app = app_of(service)

    @app.post("/v1/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/v1/things/{thing}")
    async def thing(thing: str) -> str:
        return thing

    return app


# -- who is calling ----------------------------------------------------------------------------------------------


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
    async with client_of(_app(fake_service())) as client:
        assert (await client.get("/v1/me", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "given"),
    [({}, False), ({"Authorization": "Bearer wrong"}, True), ({"Authorization": SECRET}, False), ({"X-API-Key": ""}, True)],
)
async def test_without_a_good_key_nothing_is_told(headers: dict[str, str], given: bool) -> None:
    async with client_of(_app(fake_service()), headers=headers) as client:
        for path in ("/v1/me", "/v1/nothing/there"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
            assert answer.headers["www-authenticate"].startswith('Bearer realm="emberbox"')
            assert ("invalid_token" in answer.headers["www-authenticate"]) == given


async def test_the_body_of_a_stranger_is_not_read() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        raise AssertionError("the body was read")

    async with client_of(_app(fake_service())) as client:
        assert (await client.post("/v1/echo", content=endless())).status_code == 401


async def test_public_addresses_ask_nobody() -> None:
    service = fake_service()
    async with client_of(_app(service)) as client:
        assert (await client.get("/openapi.json")).status_code == 200
    assert service.keys.asked == []


async def test_a_scope_that_is_missing() -> None:
    async with client_of(_app(fake_service(key_record("read"))), headers=HEADERS) as client:
        answer = await client.get("/v1/keys")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


async def test_failures_are_limited_by_address_and_good_keys_are_not() -> None:
    app = _app(fake_service())
    async with client_of(app, address=("10.0.0.1", 1)) as stranger:
        statuses = [(await stranger.get("/v1/me")).status_code for _ in range(150)]
        last = await stranger.get("/v1/me")
        assert set(statuses) == {401, 429}
        assert int(last.headers["retry-after"]) >= 1
        assert (await stranger.get("/v1/me", headers=HEADERS)).status_code == 200
    async with client_of(app, address=("10.0.0.2", 1)) as other:
        assert (await other.get("/v1/me")).status_code == 401


async def test_a_key_has_a_rate_and_each_answer_tells_of_it() -> None:
    app = _app(fake_service(key_record(burst=2, requests_per_s=0.01)))
    async with client_of(app, headers=HEADERS) as client:
        answers = [await client.get("/v1/me") for _ in range(3)]
        missing = await client.get("/v1/nothing")
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=2;w=200'
    assert [answer.headers["ratelimit"].partition(";t")[0] for answer in answers] == [f'"requests";r={n}' for n in (1, 0, 0)]
    assert 90 <= int(answers[2].headers["retry-after"]) <= 100
    assert answers[2].json()["retryable"] is True
    assert missing.status_code == 429


async def test_a_rate_of_zero_is_no_bound() -> None:
    async with client_of(_app(fake_service(key_record(requests_per_s=0, burst=1))), headers=HEADERS) as client:
        answers = [await client.get("/v1/me") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


# -- what a request may be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
async def test_bodies_are_bounded_by_length_and_by_count(announced: bool) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield b"x" * 100

    async with client_of(_app(fake_service(settings=_settings(body_bytes=1000))), headers=HEADERS) as client:
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
    async with client_of(app_of(fake_service(settings=_settings(body_bytes=1000))), headers=headers) as client:
        answer = await client.post("/v1/keys", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_a_body_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "STALLED_S", 0.05)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    headers = HEADERS | {"Content-Type": "application/json"}
    async with client_of(app_of(fake_service()), headers=headers) as client:
        answer = await client.post("/v1/keys", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/v1/things/a%00b", "/v1/keys?cursor=%00", "/v1/keys?%00=1"])
async def test_nul_in_an_address(path: str) -> None:
    async with client_of(_app(fake_service()), headers=HEADERS) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


# -- what is told of a request -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc-1.2_X", "a" * 64])
async def test_a_plain_request_id_is_kept(given: str) -> None:
    async with client_of(_app(fake_service()), headers=HEADERS) as client:
        assert (await client.get("/v1/me", headers={"X-Request-Id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "é", "<script>", "-a", None])
async def test_other_request_ids_are_replaced(given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    async with client_of(_app(fake_service()), headers=HEADERS) as client:
        answers = [await client.get("/v1/me", headers=headers) for _ in range(2)]  # type: ignore[arg-type]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(one.startswith("req_") for one in ids)


async def test_answers_are_neither_sniffed_nor_stored() -> None:
    async with client_of(_app(fake_service())) as client:
        for answer in (
            await client.get("/v1/me", headers=HEADERS),
            await client.get("/v1/me"),
            await client.get("/openapi.json"),
        ):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_log_names_the_request_and_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    service = fake_service()
    with caplog.at_level(logging.DEBUG):
        async with client_of(_app(service), headers=HEADERS) as client:
            await client.get("/v1/things/a%0Ab?token=hunter2", headers={"Cookie": "hunter3"})
    (record,) = [record for record in caplog.records if getattr(record, "action", "") == "http.request"]
    assert record.getMessage() == "GET /v1/things/a%0Ab 200"
    assert vars(record)["key_id"] == "key_0"
    ours = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("emberbox"))
    for secret in (SECRET, "hunter2", "hunter3"):
        assert secret not in ours
    assert service.telemetry.requests == [("GET", "/v1/things/{thing}", 200)]


async def test_what_is_counted_is_bounded() -> None:
    service = fake_service()
    async with client_of(_app(service), headers=HEADERS) as client:
        await client.request("BREW", "/v1/coffee")
        await client.get("/v1/somewhere/else")
    assert service.telemetry.requests == [("OTHER", "unmatched", 404), ("GET", "unmatched", 404)]


async def test_an_answer_that_breaks_off_is_cut_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    app = _app(fake_service())

    @app.get("/v1/breaks")
    async def breaks() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("no more")

        return StreamingResponse(chunks())

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/v1/breaks", "raw_path": b"/v1/breaks", "query_string": b"", "root_path": "", "client": None,
        "server": ("x", 1), "headers": [(b"x-api-key", SECRET.encode())],
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="no more"):
        await app(scope, receive, send)
    assert [message.get("body") for message in sent] == [None, b"half"]
    assert any(getattr(record, "action", "") == "http.broken" for record in caplog.records)


# -- pages of others ---------------------------------------------------------------------------------------------


async def test_pages_of_named_origins_may_call_and_others_may_not() -> None:
    app = _app(fake_service(settings=_settings(cors_origins="https://a.example, https://b.example")))
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with client_of(app) as client:
        good = await client.options("/v1/jobs", headers={"Origin": "https://b.example", **asks})
        bad = await client.options("/v1/jobs", headers={"Origin": "https://evil.example", **asks})
        refused = await client.get("/v1/me", headers={"Origin": "https://a.example"})
    assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://b.example")
    assert bad.status_code == 400
    assert "access-control-allow-origin" not in bad.headers
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")


async def test_by_default_no_page_may_call() -> None:
    async with client_of(_app(fake_service()), headers=HEADERS) as client:
        answer = await client.get("/v1/me", headers={"Origin": "https://a.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


# -- WebSockets --------------------------------------------------------------------------------------------------


async def _open(app: FastAPI, headers: dict[str, str]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": "/v1/socket",
        "raw_path": b"/v1/socket", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("x", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()], "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


async def test_a_websocket_needs_a_key_as_well() -> None:
    app = _app(fake_service())

    @app.websocket("/v1/socket")
    async def socket(socket: WebSocket) -> None:
        raise AssertionError("reached")

    (start, body) = await _open(app, {})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert b"not_authenticated" in body["body"]


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_error_of_a_websocket_is_told_as_far_as_it_can_be(accepted: bool) -> None:
    app = _app(fake_service())

    @app.websocket("/v1/socket")
    async def socket(socket: WebSocket) -> None:
        if accepted:
            await socket.accept()
        raise Conflict("it ended")

    sent = await _open(app, HEADERS)
    if accepted:
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
        assert (sent[1]["code"], sent[1]["reason"]) == (1011, "conflict")
    else:
        assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 409)
