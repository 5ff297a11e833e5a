"""Every error comes out of the client as it went into the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emberbox import errors
from emberbox.api.problems import answer_to
from emberbox.api.statuses import STATUSES
from emberbox.client.problems import error_of
from emberbox.errors import EmberboxError
from emberbox.model import CompileResult, PackagesResult


def _kinds(root: type[EmberboxError] = EmberboxError) -> list[type[EmberboxError]]:
    found = [
        kind
        for child in root.__subclasses__()
        if child.__module__ == errors.__name__
        for kind in _kinds(child)
    ]
    return [root, *found]


def _make(kind: type[EmberboxError]) -> EmberboxError:
    special: dict[type[EmberboxError], tuple[Any, ...]] = {
        errors.InvalidManifest: ("runtime.toml", "run.argv", "must be a list"),
        errors.GuestRequestFailed: ("not_found", "no such file"),
        errors.CompileFailed: (CompileResult(ok=False, reason="failed", message="it does not compile"),),
        errors.PackagesFailed: (
            PackagesResult(ok=False, reason="failed", tool="pip", message="there is no such package"),
        ),
    }
    return kind(*special.get(kind, ("this is wrong; do that",)))


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.__name__)
def test_each_class_makes_the_round_trip(kind: type[EmberboxError]) -> None:
    raised = _make(kind)
    answer = answer_to(raised, {"type": "http", "state": {"request_id": "req_1"}})
    found = error_of(answer.status_code, answer.headers, bytes(answer.body))
    assert type(found) is kind
    assert (found.message, found.code, found.retryable) == (raised.message, raised.code, raised.retryable)
    assert (found.detail or "").endswith("request req_1") is (STATUSES[kind.code] >= 500)
    assert vars(found).keys() == vars(raised).keys()


def test_a_rate_limit_says_when_to_come_back() -> None:
    answer = answer_to(errors.RateLimited("slow down", retry_after_s=6.2), {"type": "http", "state": {}})
    found = error_of(answer.status_code, answer.headers, bytes(answer.body))
    assert isinstance(found, errors.RateLimited)
    assert found.retry_after_s == 7


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidInput),
        (401, errors.NotAuthenticated),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (405, errors.InvalidInput),
        (409, errors.Conflict),
        (413, errors.PayloadTooLarge),
        (418, errors.InvalidInput),
        (429, errors.RateLimited),
        (500, EmberboxError),
        (502, errors.ServerUnreachable),
        (503, errors.ServerUnreachable),
        (504, errors.ServerUnreachable),
        (507, errors.NoSpace),
        (302, EmberboxError),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"[1]",
        b'{"code": "of_a_later_release"}',
        b'{"code": 7, "detail": 8}',
        b"[" * 99_999,
    ],
)
def test_what_has_no_code_of_ours_goes_by_its_status(
    status: int, kind: type[EmberboxError], body: bytes
) -> None:
    found = error_of(status, {}, body)
    assert type(found) is kind
    assert str(status) in found.message
    assert ("is it Emberbox" in found.message) == (status in (404, 405))


def test_wrong_fields_are_named() -> None:
    body = {
        "code": "invalid_input",
        "detail": "a: bad",
        "errors": [{"field": "a", "message": "bad"}, {"field": "b", "message": "worse"}],
    }
    assert error_of(422, {}, json.dumps(body).encode()).message == "a: bad; b: worse"
