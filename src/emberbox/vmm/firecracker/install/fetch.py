"""Fetches files from the web for installing: bounded, and through the environment's proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import httpx

from emberbox.errors import RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Callable

_CONNECT_S = 20.0
_SILENCE_S = 60.0
_REDIRECTS = 5
_PROXIES = "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
_OTHERWISE = "Or fetch the release elsewhere, and pass it with --from FILE"


async def fetch(
    url: str,
    take: Callable[[bytes, float | None], None],
    *,
    limit: int,
    timeout_s: float,
    missing: str,
) -> None:
    """Fetch a file. Cancelling leaves what was taken so far.

    Args:
        url: Where from.
        take: Called in a thread with each piece, and the share that is there with it; None where the
            length is not known.
        limit: Most bytes that are taken.
        timeout_s: Bound of the file as a whole.
        missing: What a 404 means, for people.

    Raises:
        RequirementMissing: The file did not come, or not whole; the message says why and what to do.
        OSError: What `take` raises.
    """
    shown = without_password(url)
    try:
        async with asyncio.timeout(timeout_s), _client() as client, client.stream("GET", url) as answer:
            _check(answer, shown, missing)
            await _receive(answer, shown, limit, take)
    except TimeoutError as error:
        raise RequirementMissing(f"{shown} did not come within {timeout_s:.0f} s. {_OTHERWISE}") from error
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise RequirementMissing(
            f"{shown} cannot be fetched: {explain(error)}", detail=repr(error)
        ) from error


def _check(answer: httpx.Response, shown: str, missing: str) -> None:
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise RequirementMissing(f"{shown} is not there (404): {missing}")
    if answer.status_code != httpx.codes.OK:
        raise RequirementMissing(
            f"{shown} cannot be fetched: the server answered {answer.status_code}. Try again later. "
            f"{_OTHERWISE}"
        )
    schemes = [step.request.url.scheme for step in (*answer.history, answer)]
    if schemes[0] == "https" and "http" in schemes:
        raise RequirementMissing(
            f"{shown} leads to a page without TLS; nothing is taken from there. {_OTHERWISE}"
        )


def _client() -> httpx.AsyncClient:
    try:
        timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
        # Compressed bytes have another length than the one announced, and releases are compressed already.
        plain = {"Accept-Encoding": "identity"}
        return httpx.AsyncClient(
            timeout=timeout, headers=plain, follow_redirects=True, max_redirects=_REDIRECTS
        )
    except (ValueError, ImportError) as error:
        raise RequirementMissing(
            f"the proxy cannot be used: {error}. Look at {_PROXIES}. {_OTHERWISE}"
        ) from error
    except OSError as error:
        raise RequirementMissing(
            f"the certificates that are to be trusted cannot be read: {error}. Look at SSL_CERT_FILE and "
            "SSL_CERT_DIR"
        ) from error


async def _receive(
    answer: httpx.Response, shown: str, limit: int, take: Callable[[bytes, float | None], None]
) -> None:
    whole = _length(answer)
    too_large = (
        f"{shown} has more than the {limit} bytes that such a file may have; it is not what we look for"
    )
    if whole is not None and whole > limit:
        raise RequirementMissing(too_large)
    came = 0
    try:
        async for data in answer.aiter_raw():
            came += len(data)
            if came > limit:
                raise RequirementMissing(too_large)
            await asyncio.to_thread(take, data, came / whole if whole else None)
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise RequirementMissing(_cut(shown, came, whole), detail=repr(error)) from error
    if whole is not None and came != whole:
        raise RequirementMissing(_cut(shown, came, whole))


def without_password(url: str) -> str:
    """Return an address as people may see it."""
    try:
        return str(httpx.URL(url).copy_with(username=None, password=None))
    except httpx.InvalidURL:
        return url


def explain(error: Exception) -> str:
    """Return why nothing was fetched and what to do, for people."""
    causes = _causes(error)
    if isinstance(error, httpx.ProxyError):
        return (
            f"the proxy refused: {error}. Look at {_PROXIES}, and whether the proxy lets this host through. "
            f"{_OTHERWISE}"
        )
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return (
            f"its certificate is not trusted: {error}. Where a proxy of yours opens TLS, name its authority "
            f"in SSL_CERT_FILE. {_OTHERWISE}"
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        what = f"its name is not known here ({error}): no network, or no DNS"
        return f"{what}. Where a proxy leads out, name it in HTTPS_PROXY. {_OTHERWISE}"
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return (
            f"that is no address of a web page ({error}); look at {_PROXIES} and at the address of the "
            "releases"
        )
    if isinstance(error, httpx.TooManyRedirects):
        return f"it leads from page to page without an end. {_OTHERWISE}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer came in time. Try again, and look at the network and at {_PROXIES}. {_OTHERWISE}"
    return f"{error or type(error).__name__}. Look at the network and at {_PROXIES}. {_OTHERWISE}"


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found


def _length(answer: httpx.Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and "Content-Encoding" not in answer.headers else None


def _cut(url: str, came: int, whole: int | None) -> str:
    of = "" if whole is None else f" of {whole}"
    return f"{url} was cut off after {came}{of} bytes; nothing of it was kept. Try again. {_OTHERWISE}"
