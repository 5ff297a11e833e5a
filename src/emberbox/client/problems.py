"""Turns the answers of a server that refuses or fails into the errors of `emberbox.errors`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from emberbox import errors
from emberbox.errors import (
    CompileFailed,
    EmberboxError,
    GuestRequestFailed,
    InvalidManifest,
    PackagesFailed,
    QuotaExceeded,
    RateLimited,
    RequirementMissing,
)
from emberbox.net.backoff import retry_after_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_TEXT = 2000
_BY_STATUS: dict[int, type[EmberboxError]] = {
    401: errors.NotAuthenticated,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.PayloadTooLarge,
    429: errors.RateLimited,
    502: errors.ServerUnreachable,
    503: errors.ServerUnreachable,
    504: errors.ServerUnreachable,
    507: errors.NoSpace,
}
"""For answers without a code of ours, which come from something between the client and the service."""
_OWN: dict[type[EmberboxError], dict[str, Any]] = {
    InvalidManifest: {"file": "", "field": ""},
    GuestRequestFailed: {"reason": "unknown"},
    RequirementMissing: {"mend": None},
    CompileFailed: {"result": None, "metrics": None},
    PackagesFailed: {"result": None},
}
"""What errors have on the server besides a message, which no answer tells."""
_OF_STRANGERS = (404, 405, 501)
"""What another web server says to our requests."""


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> EmberboxError:
    """Return the error that an answer tells of.

    Args:
        status: HTTP status, from 400 or below 200 or a redirection.
        headers: The answer's headers, with names in any case.
        body: A problem document (RFC 9457), or anything.
    """
    told = _document(body)
    code, unnamed = told.get("code"), errors.InvalidInput if 400 <= status < 500 else EmberboxError
    kind = _by_code().get(code) if isinstance(code, str) else None
    message = _message(told)
    if not message:
        message = f"the server answered with status {status} {headers.get('location', '')}".rstrip()
        message += "; is it Emberbox that answers at this address?" if status in _OF_STRANGERS else ""
    return _make(kind or _BY_STATUS.get(status, unnamed), message, _detail(status, told), headers)


def _document(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _message(told: Mapping[str, Any]) -> str:
    message = told.get("detail") or told.get("title")
    if not isinstance(message, str):
        return ""
    return "; ".join([message, *(field for field in _fields(told) if field not in message)])[:LONGEST_TEXT]


def _fields(told: Mapping[str, Any]) -> Iterator[str]:
    wrong = told.get("errors")
    for error in wrong[:10] if isinstance(wrong, list) else ():
        if isinstance(error, dict):
            yield ": ".join(str(value) for value in error.values())


def _detail(status: int, told: Mapping[str, Any]) -> str | None:
    """Return what finds the failure in the server's log; what is the caller's mistake is in the message."""
    if "code" in told and status < 500:
        return None
    request = told.get("request_id")
    return f"HTTP status {status}" + (f", request {request}"[:LONGEST_TEXT] if request else "")


def _by_code() -> dict[str, type[EmberboxError]]:
    found = {EmberboxError.code: EmberboxError}
    waiting = [EmberboxError]
    while waiting:
        children = [kind for kind in waiting.pop().__subclasses__() if kind.__module__ == errors.__name__]
        found.update({kind.code: kind for kind in children})
        waiting += children
    return found


def _make(
    kind: type[EmberboxError], message: str, detail: str | None, headers: Mapping[str, str]
) -> EmberboxError:
    """Make an error as it was on the server, whose constructors may take other arguments than a message."""
    error = kind.__new__(kind)
    EmberboxError.__init__(error, message, detail=detail)
    for owner, values in _OWN.items():
        if isinstance(error, owner):
            vars(error).update(values)
    if isinstance(error, InvalidManifest):
        error.problem = message
    if isinstance(error, RateLimited | QuotaExceeded):
        error.retry_after_s = retry_after_s(headers.get("retry-after", "")) or 1.0
    return error
