from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from emberbox import errors
from emberbox.api.problems import MEDIA_TYPE
from emberbox.api.statuses import STATUSES
from emberbox.errors import EmberboxError
from emberbox.model import CompileResult, PackagesResult
from emberbox.schemas.base import Problem
from tests.unit.api.fakes import HEADERS, app_of, client_of, fake_service

if TYPE_CHECKING:
    from collections.abc import Iterator


def _classes(root: type[EmberboxError] = EmberboxError) -> Iterator[type[EmberboxError]]:
    yield root
    for sub in root.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield from _classes(sub)


def _instance(kind: type[EmberboxError]) -> EmberboxError:
    if kind is errors.InvalidManifest:
        return errors.InvalidManifest("file", "field", "what to do")
    if kind is errors.GuestRequestFailed:
        return errors.GuestRequestFailed("no_space", "what to do", detail="internal matter")
    if kind is errors.RateLimited:
        return errors.RateLimited("what to do", retry_after_s=2.1, detail="internal matter")
    if kind is errors.CompileFailed:
        return errors.CompileFailed(
            CompileResult(ok=False, reason="failed", message="what to do", stderr_data=b"internal matter")
        )
    if kind is errors.PackagesFailed:
        return errors.PackagesFailed(
            PackagesResult(
                ok=False, reason="failed", tool="pip", message="what to do", output_data=b"internal matter"
            )
        )
    return kind("what to do", detail="internal matter")


@pytest.mark.parametrize("kind", list(dict.fromkeys(_classes())), ids=lambda kind: kind.__name__)
async def test_each_error_becomes_a_problem_document(
    kind: type[EmberboxError], caplog: pytest.LogCaptureFixture
) -> None:
    service = fake_service()
    app = app_of(service)

    @app.get("/v1/fails")
    async def fails() -> None:
        raise _instance(kind)

    async with client_of(app, headers=HEADERS) as client:
        answer = await client.get("/v1/fails", headers={"X-Request-Id": "mine-1"})
    problem = Problem.model_validate_json(answer.content)
    assert answer.headers["content-type"] == MEDIA_TYPE
    status = STATUSES[kind.code]
    assert (answer.status_code, problem.status) == (status, status)
    assert (problem.code, problem.type, problem.retryable) == (
        kind.code,
        f"/problems/{kind.code}",
        kind.retryable,
    )
    assert problem.request_id == answer.headers["x-request-id"] == "mine-1"
    assert "what to do" in problem.detail
    assert "internal matter" not in answer.text
    logged = [
        record
        for record in caplog.records
        if getattr(record, "action", "") in ("http.failed", "http.refused")
    ]
    assert len(logged) == len(service.telemetry.errors) == (status >= 500)
    assert all(getattr(record, "request_id", None) == "mine-1" for record in logged)


async def test_a_rate_limit_says_when_to_come_back() -> None:
    app = app_of(fake_service())

    @app.get("/v1/fails")
    async def fails() -> None:
        raise errors.RateLimited("slow down", retry_after_s=2.1)

    async with client_of(app, headers=HEADERS) as client:
        assert (await client.get("/v1/fails")).headers["retry-after"] == "3"


async def test_an_unexpected_error_tells_nothing_but_is_logged_with_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = app_of(fake_service())

    @app.get("/v1/fails")
    async def fails() -> None:
        raise RuntimeError("the password is hunter2")

    async with client_of(app, headers=HEADERS) as client:
        answer = await client.get("/v1/fails")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["x-content-type-options"] == "nosniff"
    record = next(record for record in caplog.records if getattr(record, "action", "") == "http.crashed")
    assert getattr(record, "request_id", None) == answer.headers["x-request-id"]
    assert record.exc_info is not None


class _Body(BaseModel):
    sizes: dict[str, int]
    name: str = ""


@pytest.mark.parametrize(
    ("sent", "status", "fields"),
    [
        (b'{"sizes": {"a": "x"}, "name": 3}', 422, ["body.sizes.a", "body.name"]),
        (b'{"sizes": {"\\ud800": "x"}}', 422, None),
        (b"{", 422, None),
        (b'{"sizes": {}, "name": "\xff"}', 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"sizes": {}, "name": "' + b"9" * 10 + b'", "x": 1e999}', 200, None),
    ],
    ids=["wrong", "surrogate", "cut", "not-utf8", "deep", "good"],
)
async def test_bodies_that_are_wrong(sent: bytes, status: int, fields: list[str] | None) -> None:
    app = app_of(fake_service())

    @app.post("/v1/takes")
    async def takes(body: _Body) -> None:
        return None

    async with client_of(app, headers=HEADERS) as client:
        answer = await client.post("/v1/takes", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    if status != 200:
        problem: dict[str, Any] = answer.json()
        assert answer.headers["content-type"] == MEDIA_TYPE
        if fields is not None:
            assert [one["field"] for one in problem["errors"]] == fields


async def test_what_is_not_there_and_methods_that_are_not_taken() -> None:
    app = app_of(fake_service())
    async with client_of(app, headers=HEADERS) as client:
        missing = await client.get("/v1/nothing")
        wrong = await client.put("/v1/keys")
        slash = await client.get("/v1/keys/")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, POST"
    assert slash.status_code == 404
