"""The API's description of itself, OpenAPI 3.1.

FastAPI finds out the most of it; this module adds what holds for every address.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from fastapi import Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from emberbox.api.auth import Needs
from emberbox.api.problems import MEDIA_TYPE
from emberbox.schemas.base import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

OTHERS = "other services' calls"
TAGS = [
    {"name": "scripts", "description": "Code that was uploaded, to be run any number of times."},
    {"name": "jobs", "description": "Runs of scripts or of inline code, and their results."},
    {"name": "logs", "description": "What jobs wrote, as it was written or while it is."},
    {"name": "artifacts", "description": "Files that jobs left behind."},
    {"name": "runtimes", "description": "The languages that can be run."},
    {"name": "teams", "description": "To whom everything belongs, and what each may use."},
    {"name": "keys", "description": "API keys, and what each may do."},
    {"name": "webhooks", "description": "News of jobs, delivered by HTTP."},
    {"name": "usage", "description": "What each team and its keys used, by day."},
    {"name": "machines", "description": "The virtual machines of this node, for its operator."},
    {"name": "system", "description": "The service itself: its health, its state, what it keeps ready."},
    {"name": OTHERS, "description": "The calls of two earlier services, for programs that know them."},
]

DESCRIPTION = """\
Send a key with each request: `Authorization: Bearer KEY` or `X-API-Key: KEY`. All that is made
with a key belongs to its team, whose keys share it. No team sees what another one has.

Lists come in pages: `next_cursor` is the `cursor` of the next one. Times are in UTC.

Errors are problem documents (RFC 9457). `code` is stable, `detail` says what to do, and `retryable`
tells whether the same request may succeed later.

Each answer carries its `X-Request-Id` and the rate of the key or its team (`RateLimit`,
`RateLimit-Policy`). Where waiting helps, it also carries `Retry-After`.
"""

_PROBLEMS = {
    400: ("Malformed", "The request cannot be understood."),
    401: ("NotAuthenticated", "There is no key, or one that is unknown, expired or revoked."),
    403: ("NotAllowed", "The key lacks the scope, or is suspended."),
    404: ("NotFound", "There is no such thing, or it is another team's."),
    408: ("RequestTimeout", "Nothing more came of the body for too long."),
    409: ("Conflict", "What is there does not allow it."),
    413: ("PayloadTooLarge", "The body, a file or what an archive holds is above its bound."),
    415: ("UnsupportedMediaType", "The body is of another type."),
    422: ("InvalidInput", "A value cannot be used; `errors` lists the fields."),
    429: ("RateLimited", "Too many requests, or the share of the key or its team is used up."),
    500: ("Internal", "Something went wrong inside; the log tells more under the request's id."),
    503: ("Unavailable", "Not now; it may work in a moment."),
    507: ("NoSpace", "The service's disk is full."),
}
_TEXT = {"schema": {"type": "string"}}
_HEADERS = {
    "RateLimit": {
        "description": "What is left of the key's or team's rate (draft-ietf-httpapi-ratelimit-headers).",
        **_TEXT,
    },
    "RateLimit-Policy": {"description": "That rate.", **_TEXT},
}
_EXTRA_HEADERS = {
    401: {"WWW-Authenticate": {"description": "How to authenticate.", **_TEXT}},
    429: {
        "Retry-After": {
            "description": "Seconds to wait.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
    },
}
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ember_ and 43 characters",
        "description": "An API key.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}


def serve_document(app: FastAPI) -> None:
    """Serve the description of `app` at `/openapi.json`.

    It is made once, in a thread, since that takes a good part of a second.
    """
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    making = asyncio.Lock()
    made: list[bytes] = []

    @app.get("/openapi.json", include_in_schema=False)
    async def get_document() -> Response:
        async with making:
            if not made:
                made.append(await asyncio.to_thread(lambda: json.dumps(document(app)).encode()))
        return Response(made[0], media_type="application/json")


def document(app: FastAPI) -> dict[str, Any]:
    """Return the description of `app`, made at the first call."""
    if app.openapi_schema is None:
        routes = [route for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema]
        for route in routes:
            # Each has the name of its function; those of other services' calls get a prefix.
            route.operation_id = f"other_{route.name}" if OTHERS in route.tags else route.name
        made = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=DESCRIPTION,
            routes=routes,
            tags=app.openapi_tags,
            openapi_version="3.1.0",
        )
        _complete(made, routes)
        app.openapi_schema = made
    return app.openapi_schema


def scopes_of(route: Any) -> tuple[str, ...]:
    """Return the scopes that a route's key needs; none where no key is needed."""
    return next(
        (part.call.scopes for part in route.dependant.dependencies if isinstance(part.call, Needs)), ()
    )


def _complete(made: dict[str, Any], routes: list[APIRoute]) -> None:
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(mode="serialization")
    components["securitySchemes"] = _SECURITY
    components["headers"] = _HEADERS
    components["responses"] = {name: _response(status) for status, (name, _) in _PROBLEMS.items()}
    for route in routes:
        for method in route.methods or ():
            _complete_operation(made["paths"][route.path_format][method.lower()], method, scopes_of(route))


def _complete_operation(operation: dict[str, Any], method: str, scopes: tuple[str, ...]) -> None:
    operation["security"] = [{"bearer": []}, {"apiKey": []}] if scopes else []
    if scopes:
        needed = " and ".join(f"`{scope}`" for scope in scopes)
        operation["description"] = (
            f"{operation.get('description', '').strip()}\n\nNeeds the scope {needed}.".strip()
        )
        for response in operation["responses"].values():
            response["headers"] = {
                name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS
            } | response.get("headers", {})
    if "422" in operation["responses"] and "HTTPValidationError" in str(operation["responses"]["422"]):
        del operation["responses"]["422"]
    for status in _statuses(operation, method, scopes):
        _add_problem(operation["responses"], status)


def _statuses(operation: dict[str, Any], method: str, scopes: tuple[str, ...]) -> Iterator[int]:
    yield from (500, 503)
    if scopes:
        yield from (400, 401, 403, 404, 429)
    if "parameters" in operation or "requestBody" in operation:
        yield from (400, 422)
    if "requestBody" in operation:
        yield from (408, 413, 415)
    if method != "GET":
        yield 409
    if method in ("POST", "PUT"):
        yield 507


def _add_problem(responses: dict[str, Any], status: int) -> None:
    name = _PROBLEMS[status][0]
    if str(status) in responses:
        responses[str(status)].setdefault("content", {}).update(_response(status)["content"])
    else:
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}


def _response(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    response: dict[str, Any] = {"description": _PROBLEMS[status][1], "content": content}
    return response | ({"headers": _EXTRA_HEADERS[status]} if status in _EXTRA_HEADERS else {})
