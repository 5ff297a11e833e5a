"""Who is calling, and whether they may: the key is checked before anything else of a request is looked at.

Every address needs a key, but for those in `PUBLIC`: one that is added without thought is closed,
not open. There is nothing that a browser would send by itself (no cookies), so pages of others
cannot act for anybody, by rebinding of names or otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002  FastAPI looks at it when it runs

from emberbox.api.problems import answer_to
from emberbox.api.ratelimit import Allowance, Limiter, address_of
from emberbox.errors import EmberboxError, NotAllowed, NotAuthenticated, RateLimited, StoreError
from emberbox.store.records import KeyRecord

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from emberbox.config import CeilingSettings, QuotaSettings
    from emberbox.service.accounts.keys import Keys

PUBLIC = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""Addresses that are answered without a key. Those who send one are known there as elsewhere."""

FAILURES_PER_S = 5.0
FAILURES_AT_ONCE = 100
"""Wrong or missing keys that one address may send; more are answered with 429."""

_NO_KEY = "this needs an API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"


class Authentication:
    """Refuses requests without a good key, or above its rate, before their body is read. Pure ASGI.

    Leaves the `KeyRecord` in the scope's state as `key`, where `Reader` and its like find it, and as
    `hold` what tells those that go on for long when the key is no longer good.

    Args:
        app: What is wrapped.
        keys: Knows whose secret is whose.
        quota: The rate of teams that have none of their own.
        ceiling: The rate of all teams together.
    """

    def __init__(self, app: ASGIApp, keys: Keys, quota: QuotaSettings, ceiling: CeilingSettings) -> None:
        self._app = app
        self._keys = keys
        self._quota = quota
        self._ceiling = ceiling
        self._limiter = Limiter()
        self._service = Limiter()
        self._failures = Limiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        public = scope["path"] in PUBLIC
        if public and _secret(scope) is None:
            return await self._app(scope, receive, send)
        try:
            key = await self._key(scope)
        except EmberboxError as error:
            if public and isinstance(error, StoreError):
                # That the database is gone is to be told, not suffered.
                return await self._app(scope, receive, send)
            return await answer_to(error, scope)(scope, receive, send)
        scope["state"]["key"] = key
        allowance = self._take(key)
        if allowance is not None and not allowance.granted:
            return await _too_fast(allowance, scope)(scope, receive, send)
        # Only what a team's own rate lets pass counts here, so that none uses up the others' part.
        if (busy := self._all_together()) is not None:
            return await answer_to(busy, scope)(scope, receive, send)
        if allowance is None:
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *allowance.headers]
            await send(message)

        return await self._app(scope, receive, send_with_headers)

    async def _key(self, scope: Scope) -> KeyRecord:
        secret = _secret(scope)
        try:
            if secret is None:
                raise NotAuthenticated(_NO_KEY)
            scope["state"]["key_given"] = True
            key = await self._keys.authenticate(secret)
            scope["state"]["hold"] = self._keys.hold(secret, key)
            return key
        except NotAuthenticated as error:
            allowance = self._failures.take(address_of(scope), FAILURES_PER_S, FAILURES_AT_ONCE)
            if not allowance.granted:
                raise RateLimited(
                    "too many requests without a valid API key from this address",
                    retry_after_s=allowance.wait_s,
                ) from error
            raise

    def _take(self, key: KeyRecord) -> Allowance | None:
        """Take one request from the rates of the key's team and of the key.

        Returns:
            What is nearer to its end of the two; None where there is no bound.
        """
        of_team = {"requests_per_s": self._quota.requests_per_s, "burst": self._quota.burst} | key.team_quota
        rates = [(key.team_id, of_team)]
        if "requests_per_s" in key.quota or "burst" in key.quota:
            rates.append((key.id, of_team | key.quota))
        taken = [
            self._limiter.take(whose, quota["requests_per_s"], int(quota["burst"]))
            for whose, quota in rates
            if quota["requests_per_s"] > 0 and quota["burst"] >= 1
        ]
        return min(taken, key=lambda one: (one.granted, one.remaining), default=None)

    def _all_together(self) -> RateLimited | None:
        """Take one request from the rate of the whole service; returns what speaks against it."""
        rate, burst = self._ceiling.requests_per_s, self._ceiling.burst
        if rate <= 0 or burst <= 0:
            return None
        allowance = self._service.take("", rate, burst)
        if allowance.granted:
            return None
        return RateLimited(
            "all teams together make more requests than this service takes: wait as long as Retry-After "
            "says; its operator may raise ceiling.requests_per_s",
            retry_after_s=allowance.wait_s,
        )


def _too_fast(allowance: Allowance, scope: Scope) -> Response:
    error = RateLimited(
        "this key or its team makes too many requests; wait as long as Retry-After says",
        retry_after_s=allowance.wait_s,
    )
    response = answer_to(error, scope)
    response.raw_headers.extend(allowance.headers)
    return response


def _secret(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return str(secret.strip())
        elif name == b"x-api-key":
            return str(value.decode("latin-1").strip())
    # Browsers cannot give a WebSocket headers, but they name protocols: `emberbox, bearer.KEY`.
    offered: list[str] = scope.get("subprotocols", [])
    return next((name.removeprefix("bearer.") for name in offered if name.startswith("bearer.")), None)


def caller_of(scope: Scope) -> KeyRecord | None:
    """Return the key that a request came with; None where it came without one."""
    key: KeyRecord | None = scope["state"].get("key")
    return key


class Needs:
    """A dependency that yields the caller's key if it has all `scopes`, and raises `NotAllowed` else."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes

    async def __call__(self, connection: HTTPConnection) -> KeyRecord:
        """Return the caller's key; raises `NotAllowed`."""
        key = caller_of(connection.scope)
        if key is None:
            raise NotAuthenticated(_NO_KEY)
        if missing := [scope for scope in self.scopes if scope not in key.scopes]:
            has = ", ".join(sorted(key.scopes))
            raise NotAllowed(f"this needs a key with the scope {missing[0]!r}; this one has {has}")
        return key


Reader = Annotated[KeyRecord, Depends(Needs("read"))]
"""The caller's key; it may read."""
Runner = Annotated[KeyRecord, Depends(Needs("run"))]
"""The caller's key; it may upload scripts and run jobs."""
Admin = Annotated[KeyRecord, Depends(Needs("admin"))]
"""The caller's key; it may manage its team's keys."""
Operator = Annotated[KeyRecord, Depends(Needs("operator"))]
"""The caller's key; it may look at the whole installation."""
Manager = Annotated[KeyRecord, Depends(Needs("operator", "admin"))]
"""The caller's key; it may manage teams and the installation."""
