# Written by scripts/sync_client.py from _async/transport.py; change that instead.
"""Requests to one server with one key: repeated where that is safe, and refusals raised as errors."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from emberbox.client.places import Place, keyless, unreachable
from emberbox.client.problems import error_of
from emberbox.client.waiting import sleep
from emberbox.errors import EmberboxError, InvalidInput, NotAuthenticated, NotFound, ServerUnreachable
from emberbox.net.backoff import retry_after_s
from emberbox.schemas.base import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pydantic import BaseModel

    from emberbox.client.retries import RetryPolicy

_M = TypeVar("_M", bound="BaseModel")
_SAFE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
CONNECT_S = 10.0
_PROBLEM_BYTES = 1024 * 1024
PAGE = 100
"""What is fetched of a list at once; the server gives at most 200."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A try that failed: with an answer, or without one.

    `not_sent` says that the server saw nothing of the request.
    """

    error: EmberboxError
    response: httpx.Response | None = None
    asked_s: float | None = None
    not_sent: bool = False


class Transport:
    """Sends requests.

    Args:
        place: The server and the key.
        timeout_s: Longest silence of the server, besides what it was asked to wait.
        policy: When requests are repeated.
        network: How requests travel; None for the network.
    """

    def __init__(
        self,
        place: Place,
        *,
        timeout_s: float,
        policy: RetryPolicy,
        network: httpx.BaseTransport | None = None,
    ) -> None:
        self.place = place
        self._timeout_s = timeout_s
        self._policy = policy
        headers = {"User-Agent": "emberbox-client", "Accept": "application/json"}
        if place.api_key is not None:
            headers["Authorization"] = f"Bearer {place.api_key}"
        # As many connections as callers: each log that is followed holds one.
        # Redirections are not followed: they could carry the key to another server.
        self._http = httpx.Client(
            base_url=place.server,
            headers=headers,
            transport=network,
            trust_env=not place.local,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self._http.close()

    def get(self, kind: type[_M], path: str, *, wait_s: float = 0.0, **query: Any) -> _M:
        """Fetch and read an answer of `kind`."""
        return self.read(kind, self.request("GET", path, query=query, wait_s=wait_s))

    def pages(self, kind: type[_M], path: str, *, limit: int | None = None, **query: Any) -> Iterator[_M]:
        """Yield everything in a list of `kind`, newest first; the next page is fetched when it is reached.

        Args:
            kind: What the list holds.
            path: The list's path.
            limit: Most to yield; None for all.
            query: Filters; those that are None are left out.
        """
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            page = self.get(Page[kind], path, cursor=cursor, limit=size, **query)  # type: ignore[valid-type]
            yield from page.items[:left]
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if cursor is None:
                return

    def content(self, path: str, **query: Any) -> bytes:
        """Fetch an answer of any kind, read whole."""
        return (self.request("GET", path, query=query)).content

    def post(self, kind: type[_M], path: str, body: object = None, **options: Any) -> _M:
        """Post JSON and read an answer of `kind`; for the options see `request`."""
        return self.send(kind, "POST", path, body, **options)

    def send(self, kind: type[_M], method: str, path: str, body: object, **options: Any) -> _M:
        """Send JSON and read an answer of `kind`; for the options see `request`."""
        return self.read(kind, self.request(method, path, json=body, **options))

    def upload(self, kind: type[_M], path: str, fields: Mapping[str, Any], name: str, place: Path) -> _M:
        """Post a form with a file and read an answer of `kind`.

        Args:
            kind: Of the answer.
            path: Below the server's address.
            fields: The form's other fields; those that are None are left out.
            name: The file's name.
            place: Where it lies.
        """

        def once() -> httpx.Response:
            with place.open("rb") as content:
                return self._send("POST", path, data=_given(fields), files={"file": (name, content)})

        return self.read(kind, self._repeat(once, safe=False))

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> httpx.Response:
        """Send a request, repeat it where that may help and does no harm, and return the answer, read whole.

        Args:
            method: HTTP method.
            path: Below the server's address.
            query: Parameters; those that are None are left out.
            json: Body; None for none.
            headers: Added to the usual ones.
            wait_s: How long the server was asked to wait before it answers, in seconds.

        Raises:
            EmberboxError: What the server said; `ServerUnreachable` when it said nothing.
        """

        def once() -> httpx.Response:
            return self._send(method, path, query, headers, wait_s, json=json)

        safe = method in _SAFE or "Idempotency-Key" in (headers or {})
        return self._repeat(once, safe=safe, deletes=method == "DELETE")

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> Iterator[httpx.Response]:
        """Open an answer to be read piece by piece.

        Its opening is repeated where that may help; a break within it is raised.

        Raises:
            EmberboxError: As for `request`; also inside the block, when the answer breaks off.
        """

        def once() -> httpx.Response:
            return self._send("GET", path, query, headers, wait_s, stream=True)

        response = self._repeat(once, safe=True)
        try:
            yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            response.close()

    def read(self, kind: type[_M], response: httpx.Response) -> _M:
        """Return an answer as a model.

        Raises `ServerUnreachable` when something else than our service must have answered.
        """
        try:
            return kind.model_validate_json(response.content)
        except ValueError as error:
            why = f"what answers there does not look like Emberbox ({kind.__name__} expected)"
            raise unreachable(self.place.server, why) from error

    def _repeat(self, once: Callable[[], Any], *, safe: bool, deletes: bool = False) -> httpx.Response:
        tried = 0
        unanswered = False
        while True:
            tried += 1
            came = self._try(once)
            if isinstance(came, httpx.Response):
                return came
            if deletes and unanswered and came.response is not None and isinstance(came.error, NotFound):
                # It was deleted by the try before, whose answer was lost.
                return came.response
            pause_s = self._policy.pause_s(
                came.error, tried, safe=safe or came.not_sent, asked_s=came.asked_s
            )
            if pause_s is None:
                raise came.error
            unanswered = isinstance(came.error, ServerUnreachable)
            sleep(pause_s)

    def _try(self, once: Callable[[], Any]) -> httpx.Response | _Failure:
        try:
            response: httpx.Response = once()
            if response.is_success:
                return response
            asked_s = retry_after_s(response.headers.get("retry-after", ""))
            return _Failure(self._refusal(response), response, asked_s=asked_s)
        except (httpx.LocalProtocolError, httpx.InvalidURL, ValueError) as error:
            raise InvalidInput(f"this cannot be sent: {error}") from error
        except httpx.HTTPError as error:
            failure = self._unreachable(error)
            failure.__cause__ = error
            return _Failure(failure, not_sent=isinstance(error, _NOT_SENT))

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        *,
        stream: bool = False,
        **content: Any,
    ) -> httpx.Response:
        timeout = httpx.Timeout(self._timeout_s + wait_s, connect=min(CONNECT_S, self._timeout_s))
        request = self._http.build_request(
            method, path, params=_given(query or {}), headers=headers, timeout=timeout, **content
        )
        return self._http.send(request, stream=stream)

    def _refusal(self, response: httpx.Response) -> EmberboxError:
        body = b""
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _PROBLEM_BYTES:
                    break
        finally:
            response.close()
        error = error_of(response.status_code, response.headers, body)
        nameless = self.place.api_key is None and isinstance(error, NotAuthenticated)
        return keyless(self.place.server) if nameless else error

    def _unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        return unreachable(self.place.server, str(error) or type(error).__name__)


class Part:
    """A part of the client, which asks the same server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
