"""One attempt: a POST over a connection that was checked, and what came back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpcore
import httpx

from emberbox.errors import InvalidInput
from emberbox.net.backoff import retry_after_s
from emberbox.net.names import AddressRefused, NameUnknown, Resolver
from emberbox.service.webhooks.pinned import PinnedBackend
from emberbox.service.webhooks.reach import Reach
from emberbox.service.webhooks.targets import Target, parse_target, redirected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.config import WebhookSettings

RESPONSE_BYTES = 1024
"""How much of an answer's body is looked at; the rest is not read."""
_BODY_S = 1.0
_REDIRECTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of one attempt.

    Args:
        status: The answer's HTTP status; None when there was none.
        error: Why the attempt failed, for the webhook's owner; None when it did not.
        body: The beginning of the answer's body.
        retry_after_s: When the receiver wants to be asked again, in seconds from now.
        location: Where a redirect leads.
        duration_ms: How long it all took.
    """

    status: int | None = None
    error: str | None = None
    body: bytes = b""
    retry_after_s: float | None = None
    location: str | None = None
    duration_ms: float = 0.0


class Sender:
    """Sends deliveries. Each attempt has a connection of its own; proxies of the environment are passed by.

    Args:
        settings: Which addresses are allowed, and how long an attempt may take.
        resolver: Turns names into addresses.
        network: Makes the connections to addresses that were checked; None means the system's.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        resolver: Resolver,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._settings = settings
        self._backend = PinnedBackend(resolver, Reach(settings), network=network)
        self._tls: ssl.SSLContext | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Make one attempt, within `timeout_s`. Failures are in the reply; only a cancellation is raised."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                reply = await self._follow(url, headers, body)
        except Exception as error:
            reply = Reply(error=_explain(error, self._settings.timeout_s))
        return replace(reply, duration_ms=round((time.monotonic() - began) * 1000, 1))

    async def _follow(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        target = parse_target(url)
        for _ in range(_REDIRECTS + 1):
            reply = await self._post(target, headers, body)
            if reply.status not in (307, 308):
                return _judged(reply)
            try:
                target = redirected(target, reply.location or "")
            except InvalidInput as error:
                return replace(reply, error=f"the redirect cannot be followed: {error.message}")
        return replace(reply, error=f"more than {_REDIRECTS} redirects")

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> Reply:
        fields = {
            "Host": target.authority,
            **headers,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        limit = self._settings.timeout_s
        context = await self._context() if target.scheme == "https" else None
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=context, max_connections=1, network_backend=self._backend
            ) as pool,
            pool.stream(
                "POST",
                httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
                headers=[(name.encode(), value.encode()) for name, value in fields.items()],
                content=body,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), limit)},
            ) as response,
        ):
            answer = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            return Reply(
                status=response.status,
                body=await _beginning(response),
                retry_after_s=retry_after_s(answer.get(b"retry-after", ""))
                if response.status in (429, 503)
                else None,
                location=answer.get(b"location"),
            )

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(_make_context)
        return self._tls


def _make_context() -> ssl.SSLContext:
    # The bundled authorities, and those that the host's owner trusts.
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


async def _beginning(response: httpcore.Response) -> bytes:
    # The status has decided already: an endless or slow body is not worth waiting for.
    kept = bytearray()
    broken = (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
    with contextlib.suppress(*broken):
        async with asyncio.timeout(_BODY_S):
            async for piece in response.aiter_stream():
                kept += piece[:RESPONSE_BYTES]
                if len(kept) >= RESPONSE_BYTES:
                    break
    return bytes(kept[:RESPONSE_BYTES])


def _judged(reply: Reply) -> Reply:
    status = reply.status or 0
    if 200 <= status < 300:
        return reply
    if 300 <= status < 400:
        return replace(reply, error=f"answered {status}; of redirects, only 307 and 308 are followed")
    return replace(reply, error=f"answered {status}")


_EXPLANATIONS: tuple[tuple[type[Exception], str], ...] = (
    (
        AddressRefused,
        "the host has a loopback, link-local, private or otherwise not public address, or one of this "
        "service's own host, which is not called",
    ),
    (NameUnknown, "the host's name could not be resolved"),
    (InvalidInput, "the URL cannot be called"),
    (httpcore.ConnectTimeout, "no connection in time"),
    (httpcore.ConnectError, "could not connect"),
    (httpcore.TimeoutException, "no answer in time"),
    (httpcore.ProtocolError, "the answer is not HTTP"),
    (httpcore.NetworkError, "the connection broke"),
)


def _explain(error: Exception, timeout_s: float) -> str:
    # Not the error's own text: it may hold addresses that are no business of the webhook's owner.
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if (cause := _tls_problem(error)) is not None:
        return f"TLS failed: {cause}"
    return next(
        (text for kind, text in _EXPLANATIONS if isinstance(error, kind)), f"failed ({type(error).__name__})"
    )


def _tls_problem(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)[:200]
        if isinstance(error, ssl.SSLError):
            return str(error.reason)[:200]
        error = error.__cause__ or error.__context__
    return None
