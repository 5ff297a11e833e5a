"""Bounds for what comes in with a request, in pure ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.api.auth import caller_of
from emberbox.api.bodies import UPLOAD_MEMORY_BYTES, IncomingBody, OpenBodies
from emberbox.api.heads import announced_bytes
from emberbox.api.problems import BodyTooLarge, answer_to, problem
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send


class Bounds:
    """Refuses what no route can take: bodies above their bound or without room, bodies that stall, and NUL.

    A body is held to its bound as it is announced, and as it is read.

    Args:
        app: What is wrapped.
        body_bytes: Largest body.
        upload_bytes: Largest body at the paths of `uploads`.
        uploads: Paths that take uploads.
        bodies: The room for bodies that come in.
    """

    def __init__(
        self, app: ASGIApp, body_bytes: int, upload_bytes: int, uploads: frozenset[str], bodies: OpenBodies
    ) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._upload_bytes = upload_bytes
        self._uploads = uploads
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        upload = scope["path"] in self._uploads
        bound = self._upload_bytes if upload else self._body_bytes
        announced = announced_bytes(scope)
        if (refusal := _refusal(scope, announced, bound)) is not None:
            return await refusal(scope, receive, send)
        in_memory = UPLOAD_MEMORY_BYTES if upload else bound
        place = self._bodies.place(caller_of(scope))
        try:
            if announced is None or announced > 0:
                place.open(min(announced or 0, in_memory))
            body = IncomingBody(receive, bound, place, slowest=self._bodies.slowest, in_memory=in_memory)
            return await self._app(scope, body.receive, send)
        except EmberboxError as error:
            # Those of the application are answered within it. What still comes of the body is not read.
            response = answer_to(error, scope)
            response.headers["connection"] = "close"
            return await response(scope, receive, send)
        finally:
            place.leave()


def _refusal(scope: Scope, announced: int | None, bound: int) -> Response | None:
    """Return the answer to a request that is wrong by its head alone; None for one that is not."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        detail = "an address cannot hold the NUL character"
        return problem(status=400, code="malformed_request", detail=detail, scope=scope)
    if (announced or 0) <= bound:
        return None
    error = BodyTooLarge(bound)
    return problem(
        status=413, code="payload_too_large", detail=error.detail, headers=error.headers, scope=scope
    )
