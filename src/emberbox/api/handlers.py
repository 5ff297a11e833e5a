"""What exceptions of routes become: the answers of `emberbox.api.problems`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from emberbox.api.problems import answer_to, problem
from emberbox.errors import EmberboxError
from emberbox.schemas.base import problem_of

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.responses import Response

WRONG_FIELDS = 50
"""Wrong fields that one answer names at most."""
_HTTP_CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
}
_HTTP_DETAILS = {
    400: "the request could not be understood: its body is not what its Content-Type says",
    404: "there is nothing at this address; see /openapi.json for what there is",
    405: "this address does not take that method; the Allow header names those that it takes",
}


async def _on_own_error(connection: Any, error: Any) -> Response | None:
    """Answer one of `emberbox.errors`.

    A WebSocket that was accepted can only be closed, with the code as its reason.
    """
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
    wrong = [
        {"field": ".".join(str(part)[:100] for part in one["loc"]), "message": problem_of(one)}
        for one in error.errors()[:WRONG_FIELDS]
    ]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in wrong[:3])
    return problem(status=422, code="invalid_input", detail=detail, errors=wrong, scope=connection.scope)


def _methods_at(connection: HTTPConnection) -> list[str]:
    """Return all methods that are taken at the request's path.

    Starlette names those of the first route alone.
    """
    found: set[str] = set()
    for route in connection.app.router.routes:
        methods = getattr(route, "methods", None)
        if methods and route.matches({**connection.scope, "method": "*"})[0] is Match.PARTIAL:
            found |= methods
    return sorted(found)


HANDLERS: dict[int | type[Exception], Any] = {
    EmberboxError: _on_own_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
}
"""What FastAPI calls for each kind of exception."""
