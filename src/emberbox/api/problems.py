"""Answers that tell of errors: problem documents (RFC 9457).

Their codes are those of `emberbox.errors`, their statuses those of `emberbox.api.statuses`.
What is not meant for the caller (an error's `detail`, any unexpected exception's text) stays in the
log, under the request's id.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from starlette.responses import Response

from emberbox.api.statuses import STATUSES
from emberbox.errors import (
    CapacityExhausted,
    EmberboxError,
    KeySuspended,
    NoSpace,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotReady,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    ServiceStopping,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Scope

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    "internal": "Internal error",
    NotAuthenticated.code: "A valid API key is needed",
    NotAllowed.code: "The API key's scopes do not allow this",
    KeySuspended.code: "The API key is suspended",
    NotFound.code: "Not found",
    RateLimited.code: "Too many requests",
    PayloadTooLarge.code: "Too large",
}


class BodyTooLarge(HTTPException):
    """The body is above its bound.

    An HTTPException, since FastAPI hides all others that reading a body raises.
    """

    def __init__(self, bound: int) -> None:
        # What still comes of the body is not read: the connection cannot be used again.
        super().__init__(
            413,
            f"the body is larger than {bound} bytes, which is the most taken here",
            {"Connection": "close"},
        )


class BodyStalled(HTTPException):
    """A body came too slowly, or not at all; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(408, f"{reason}; send it again", {"Connection": "close"})


class BodyRefused(HTTPException):
    """There is no room for more of a body: `reason` is answered."""

    def __init__(self, reason: EmberboxError) -> None:
        super().__init__(STATUSES[reason.code], reason.message, {"Connection": "close"})
        self.reason = reason


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
    """Return the answer to an error that Emberbox raised on purpose.

    What only the operator should see is logged.
    """
    status = STATUSES[error.code]
    if status >= 500:
        _log_failure(error, scope)
    return problem(
        status=status,
        code=error.code,
        detail=error.message,
        retryable=error.retryable,
        headers=_headers(error, status, scope),
        scope=scope,
    )


def _headers(error: EmberboxError, status: int, scope: Scope) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        given = bool(scope.get("state", {}).get("key_given"))
        return {"WWW-Authenticate": 'Bearer realm="emberbox"' + (', error="invalid_token"' if given else "")}
    if isinstance(error, RateLimited | QuotaExceeded | NoSpace):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    return {"Retry-After": "1"} if status == 503 and error.retryable else {}


def _log_failure(error: EmberboxError, scope: Scope) -> None:
    refused = isinstance(error, _REFUSALS)
    _log.log(
        logging.WARNING if refused else logging.ERROR,
        "%s: %s",
        error.code,
        error.message,
        extra={
            "action": "http.refused" if refused else "http.failed",
            "detail": error.detail,
            **_ids(scope),
        },
        exc_info=None if refused else error,
    )
    _note(error.code, scope)


def answer_to_unexpected(error: Exception, scope: Scope) -> Response:
    """Return the answer to an exception that nobody expected; its text goes to the log only."""
    _log.error("unexpected error", extra={"action": "http.crashed", **_ids(scope)}, exc_info=error)
    _note(EmberboxError.code, scope)
    detail = "something went wrong inside the service; its log tells more under this request's id"
    return problem(status=500, code=EmberboxError.code, detail=detail, scope=scope)


def _ids(scope: Scope) -> dict[str, object]:
    state = scope.get("state", {})
    return {"request_id": state.get("request_id"), "key_id": getattr(state.get("key"), "id", None)}


def _note(code: str, scope: Scope) -> None:
    """Leave a failure's code where the outermost layer finds it, which counts it."""
    scope.setdefault("state", {})["failure"] = code
