"""Bounds for what comes in with a request, in pure ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.api.problems import BodyStalled, BodyTooLarge, problem

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STALLED_S = 60.0
"""How long a body that is not complete may bring nothing more."""


class Bounds:
    """Refuses what no route can take: bodies above their bound, bodies that stall, and NUL.

    A body is held to its bound as it is announced, and as it is read.

    Args:
        app: What is wrapped.
        body_bytes: Largest body.
        upload_bytes: Largest body at the paths of `uploads`.
        uploads: Paths that take uploads.
    """

    def __init__(self, app: ASGIApp, body_bytes: int, upload_bytes: int, uploads: frozenset[str]) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._upload_bytes = upload_bytes
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        bound = self._upload_bytes if scope["path"] in self._uploads else self._body_bytes
        if (refusal := _refusal(scope, bound)) is not None:
            return await refusal(scope, receive, send)
        return await self._app(scope, _Body(receive, bound).receive, send)


class _Body:
    """The body of one request, as it is read."""

    def __init__(self, receive: Receive, bound: int) -> None:
        self._receive = receive
        self._bound = bound
        self._taken = 0
        self._more = True

    async def receive(self) -> Message:
        if not self._more:
            # What comes now is the caller's leaving, for which there is no hurry.
            return await self._receive()
        try:
            async with asyncio.timeout(STALLED_S):
                message = await self._receive()
        except TimeoutError:
            raise BodyStalled(STALLED_S) from None
        self._taken += len(message.get("body", b""))
        self._more = bool(message.get("more_body"))
        if self._taken > self._bound:
            raise BodyTooLarge(self._bound)
        return message


def _refusal(scope: Scope, bound: int) -> Response | None:
    """Return the answer to a request that is wrong by its head alone; None for one that is not."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        detail = "an address cannot hold the NUL character"
        return problem(status=400, code="malformed_request", detail=detail, scope=scope)
    if _announced(scope) <= bound:
        return None
    error = BodyTooLarge(bound)
    return problem(
        status=413, code="payload_too_large", detail=error.detail, headers=error.headers, scope=scope
    )


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            # int() takes more than digits; what is no length is left to the count.
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0
