"""The outermost layer around every request, in pure ASGI: it holds no stream up and starts no task."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from emberbox.api.problems import answer_to_unexpected, problem
from emberbox.ids import new_id

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from emberbox.service.status.telemetry import Telemetry

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(rb"[A-Za-z0-9._~%\[\]:-]{0,512}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_DEFAULT_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
"""Added where a route does not say otherwise."""


class OutermostLayer:
    """The outermost layer: names the request, secures its answer, logs it and counts it.

    An exception that nobody expected is answered here. A caller's own `X-Request-Id` is kept if it
    is short and plain. The log holds no headers or queries: they may hold secrets.

    Args:
        app: What is wrapped.
        telemetry: Counts requests and failures.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        answer = _Answer(scope, send)
        try:
            await (_refusal(scope) or self._app)(scope, receive, answer.send)
        except ClientDisconnect:
            _log.debug(
                "the caller went away", extra={"action": "http.disconnected", "request_id": answer.request_id}
            )
        except Exception as error:
            if answer.status is not None:
                # Too late for another answer; the server cuts the connection, so that half of one
                # is not taken for all.
                _log.error(
                    "failed in mid-answer",
                    extra={"action": "http.broken", "request_id": answer.request_id},
                    exc_info=error,
                )
                raise
            await answer_to_unexpected(error, scope)(scope, receive, answer.send)
        finally:
            self._report(scope, answer)

    def _report(self, scope: Scope, answer: _Answer) -> None:
        seconds = answer.started_s if answer.started_s is not None else time.perf_counter() - answer.began
        method = scope.get("method", "WEBSOCKET")
        status = answer.status or 499
        route = getattr(scope.get("route"), "path", "unmatched")
        self._telemetry.http(method if method in _METHODS else "OTHER", route, status, seconds)
        if (code := scope["state"].get("failure")) is not None:
            self._telemetry.error(code)
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "%s %s %d",
                method,
                _path(scope),
                status,
                extra={
                    "action": "http.request",
                    "request_id": answer.request_id,
                    "key_id": getattr(scope["state"].get("key"), "id", None),
                    "status": status,
                    "duration_ms": round(seconds * 1000, 2),
                },
            )


def _refusal(scope: Scope) -> Response | None:
    """Return the answer to a request that does not say which host it is for; None for one that does.

    HTTP/1.1 wants exactly one `Host` (RFC 9112, 3.2): with two, a proxy and this service could each believe
    another one.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or (not hosts and scope["http_version"] == "1.1"):
        detail = f"the request has {len(hosts)} Host headers; HTTP/1.1 wants exactly one"
    elif hosts and _HOST.fullmatch(hosts[0]) is None:
        detail = "the request's Host header is no host with an optional port"
    else:
        return None
    headers = {"connection": "close"}
    return problem(status=400, code="malformed_request", detail=detail, headers=headers, scope=scope)


class _Answer:
    """The way of one answer to the caller; remembers what passed."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self.request_id = _request_id(scope)
        self._state = scope.setdefault("state", {})
        self._state["request_id"] = self.request_id
        self.began = time.perf_counter()
        self.status: int | None = None
        self.started_s: float | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._note(message["status"])
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            headers.extend(header for header in _DEFAULT_HEADERS if header[0] not in present)
            headers.append((b"x-request-id", self.request_id.encode()))
            message["headers"] = headers
        elif kind == "websocket.accept":
            self._note(101)
            self._state["accepted"] = True
        elif kind == "websocket.close" and self.status is None:
            self._note(403)
        await self._send(message)

    def _note(self, status: int) -> None:
        self.status = status
        self.started_s = time.perf_counter() - self.began


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return new_id("req")


def _path(scope: Scope) -> str:
    # As it was sent, in ASCII: a decoded one could forge lines of the log.
    raw = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return ascii(raw.partition(b"?")[0][:200].decode("ascii", "replace"))[1:-1]
