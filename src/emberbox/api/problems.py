"""The one place where errors become answers: RFC 9457 problem documents with the stable codes of `emberbox.errors`.

What is not meant for the caller (an error's `detail`, any unexpected exception's text) stays in the log, under the request's id.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import Response
from starlette.routing import Match

from emberbox.errors import (
    CapacityExhausted,
    EmberboxError,
    NoSpace,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotReady,
    PayloadTooLarge,
    RateLimited,
    ServiceStopping,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import HTTPConnection
    from starlette.types import Scope

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
WRONG_FIELDS = 50
"""Wrong fields that one answer names at most."""

_TITLES = {
    "internal": "Internal error",
    NotAuthenticated.code: "A valid API key is needed",
    NotAllowed.code: "The API key's scopes do not allow this",
    NotFound.code: "Not found",
    RateLimited.code: "Too many requests",
    PayloadTooLarge.code: "Too large",
}
_HTTP_CODES = {
    400: "malformed_request",
    404: NotFound.code,
    405: "method_not_allowed",
    408: "request_timeout",
    413: PayloadTooLarge.code,
    415: "unsupported_media_type",
    422: "invalid_input",
}
_HTTP_DETAILS = {
    400: "the request could not be understood: its body is not what its Content-Type says",
    404: "there is nothing at this address; see /openapi.json for what there is",
    405: "this address does not take that method; the Allow header names those that it takes",
}


class BodyTooLarge(HTTPException):
    """The body is above its bound. An HTTPException, since FastAPI hides all others that reading a body raises."""

    def __init__(self, bound: int) -> None:
        # What still comes of the body is not read: the connection cannot be used again.
        super().__init__(413, f"the body is larger than {bound} bytes, which is the most taken here", {"Connection": "close"})


class BodyStalled(HTTPException):
    """Nothing more came of a body for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(408, f"nothing came of the body for {seconds:g} seconds", {"Connection": "close"})


def problem(
    *,
    status: int,
    code: str,
    detail: str,
    scope: Scope,
    retryable: bool = False,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
) -> Response:
    """Return the answer that tells of an error; see `emberbox.schemas.base.Problem` for the fields."""
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": _TITLES.get(code, code.replace("_", " ").capitalize()),
        "status": status,
        "detail": detail,
        "code": code,
        "retryable": retryable,
        "request_id": scope.get("state", {}).get("request_id"),
    }
    if errors is not None:
        body["errors"] = list(errors)
    # ASCII alone: names that are wrong may hold what UTF-8 cannot.
    return Response(json.dumps(body), status, dict(headers or {}), MEDIA_TYPE)


_REFUSALS = (ServiceStopping, NotReady, NoSpace, CapacityExhausted)
"""What is refused for now, on purpose: no failure whose traceback anybody would want."""


def answer_to(error: EmberboxError, scope: Scope) -> Response:
    """Return the answer to an error that Emberbox raised on purpose, and log what only the operator should see."""
    headers: dict[str, str] = {}
    if isinstance(error, NotAuthenticated):
        given = bool(scope.get("state", {}).get("key_given"))
        headers["WWW-Authenticate"] = 'Bearer realm="emberbox"' + (', error="invalid_token"' if given else "")
    elif isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status == 503 and error.retryable:
        headers["Retry-After"] = "1"
    if error.status >= 500:
        refused = isinstance(error, _REFUSALS)
        _log.log(
            logging.WARNING if refused else logging.ERROR,
            "%s: %s",
            error.code,
            error.message,
            extra={"action": "http.refused" if refused else "http.failed", "detail": error.detail, **_ids(scope)},
            exc_info=None if refused else error,
        )
        _count(error.code, scope)
    return problem(
        status=error.status, code=error.code, detail=error.message, retryable=error.retryable, headers=headers, scope=scope
    )


def answer_to_unexpected(error: Exception, scope: Scope) -> Response:
    """Return the answer to an exception that nobody expected; its text goes to the log only."""
    _log.error("unexpected error", extra={"action": "http.crashed", **_ids(scope)}, exc_info=error)
    _count(EmberboxError.code, scope)
    detail = "something went wrong inside the service; its log tells more under this request's id"
    return problem(status=500, code=EmberboxError.code, detail=detail, scope=scope)


def register(app: FastAPI) -> None:
    """Make `app` answer all errors with problem documents."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def _on_own_error(connection: Any, error: Any) -> Response | None:
    """Answer one of `emberbox.errors`. A WebSocket that was accepted can only be closed, with the code as its reason."""
    if connection.scope["state"].get("accepted"):
        await connection.close(1011, error.code)
        return None
    return answer_to(error, connection.scope)


async def _on_http_error(connection: Any, error: Any) -> Response:
    status = error.status_code
    headers = dict(error.headers or {})
    if status == 405:
        headers["Allow"] = ", ".join(_methods_at(connection))
    code = _HTTP_CODES.get(status, f"http_{status}")
    detail = _HTTP_DETAILS.get(status, error.detail)
    return problem(status=status, code=code, detail=detail, headers=headers, scope=connection.scope)


async def _on_invalid(connection: Any, error: Any) -> Response:
    wrong = [{"field": _field(one["loc"]), "message": str(one["msg"])} for one in error.errors()[:WRONG_FIELDS]]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in wrong[:3])
    return problem(status=422, code="invalid_input", detail=detail, errors=wrong, scope=connection.scope)


_HANDLERS: dict[type[Exception], Any] = {
    EmberboxError: _on_own_error,
    AnyHTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
}


def _field(where: Sequence[object]) -> str:
    return ".".join(str(part)[:100] for part in where)


def _methods_at(connection: HTTPConnection) -> list[str]:
    """Return all methods that are taken at the request's path: Starlette names those of the first route alone."""
    found: set[str] = set()
    for route in connection.app.router.routes:
        methods = getattr(route, "methods", None)
        if methods and route.matches({**connection.scope, "method": "*"})[0] is Match.PARTIAL:
            found |= methods
    return sorted(found)


def _ids(scope: Scope) -> dict[str, object]:
    state = scope.get("state", {})
    return {"request_id": state.get("request_id"), "key_id": getattr(state.get("key"), "id", None)}


def _count(code: str, scope: Scope) -> None:
    app = scope.get("app")
    telemetry = getattr(getattr(app.state, "service", None), "telemetry", None) if app is not None else None
    if telemetry is not None:
        telemetry.error(code)
