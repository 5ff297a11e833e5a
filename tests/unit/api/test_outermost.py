"""What is told of a request, and what goes around every answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import WebSocket  # noqa: TC002  FastAPI looks at them when it runs
from fastapi.responses import StreamingResponse

from emberbox.errors import Conflict
from tests.unit.api.fakes import (
    HEADERS,
    SECRET,
    client_of,
    echo_app,
    fake_service,
    server_settings,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI


# -- what is told of a request ---------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc-1.2_X", "a" * 64])
async def test_a_plain_request_id_is_kept(given: str) -> None:
    async with client_of(echo_app(fake_service()), headers=HEADERS) as client:
        assert (await client.get("/v1/me", headers={"X-Request-Id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "é", "<script>", "-a", None])
async def test_other_request_ids_are_replaced(given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    async with client_of(echo_app(fake_service()), headers=HEADERS) as client:
        answers = [await client.get("/v1/me", headers=headers) for _ in range(2)]  # type: ignore[arg-type]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(one.startswith("req_") for one in ids)


async def test_answers_are_neither_sniffed_nor_stored() -> None:
    async with client_of(echo_app(fake_service())) as client:
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
        async with client_of(echo_app(service), headers=HEADERS) as client:
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
    async with client_of(echo_app(service), headers=HEADERS) as client:
        await client.request("BREW", "/v1/coffee")
        await client.get("/v1/somewhere/else")
    assert service.telemetry.requests == [("OTHER", "unmatched", 404), ("GET", "unmatched", 404)]


async def test_an_answer_that_breaks_off_is_cut_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    app = echo_app(fake_service())

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
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/breaks",
        "raw_path": b"/v1/breaks",
        "query_string": b"",
        "root_path": "",
        "client": None,
        "server": ("x", 1),
        "headers": [(b"host", b"here"), (b"x-api-key", SECRET.encode())],
    }
    with pytest.raises(RuntimeError, match="no more"):
        await app(scope, receive, send)
    assert [message.get("body") for message in sent] == [None, b"half"]
    assert any(getattr(record, "action", "") == "http.broken" for record in caplog.records)


# -- pages of others -------------------------------------------------------------------------------


async def test_pages_of_named_origins_may_call_and_others_may_not() -> None:
    app = echo_app(
        fake_service(settings=server_settings(cors_origins="https://a.example, https://b.example"))
    )
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
    async with client_of(echo_app(fake_service()), headers=HEADERS) as client:
        answer = await client.get("/v1/me", headers={"Origin": "https://a.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


# -- WebSockets ------------------------------------------------------------------------------------


async def _open(app: FastAPI, headers: dict[str, str]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/v1/socket",
        "raw_path": b"/v1/socket",
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("x", 1),
        "headers": [
            (name.lower().encode(), value.encode()) for name, value in {"Host": "x", **headers}.items()
        ],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, receive, send)
    return sent


async def test_a_websocket_needs_a_key_as_well() -> None:
    app = echo_app(fake_service())

    @app.websocket("/v1/socket")
    async def socket(socket: WebSocket) -> None:
        raise AssertionError("reached")

    (start, body) = await _open(app, {})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert b"not_authenticated" in body["body"]


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_error_of_a_websocket_is_told_as_far_as_it_can_be(accepted: bool) -> None:
    app = echo_app(fake_service())

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
