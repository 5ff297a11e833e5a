"""Where a webhook points to: one reading of its URL, which both the check and the connection go by."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from emberbox.errors import InvalidInput
from emberbox.net.addresses import literal_address

if TYPE_CHECKING:
    from emberbox.service.webhooks.reach import Reach

# Longer than what a webhook may be given: escapes make a URL grow, and redirects may be longer.
_LONGEST = 8192
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
# Everything that RFC 3986 lets stand in a path and a query, and escapes that are there already.
_PLAIN = "%/?:@!$&'()*+,;=-._~[]|{}^`"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL's parts.

    `host` is lower-case ASCII, an IPv6 address without brackets; `path` holds the query as well.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, in one spelling."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_target(url: str) -> Target:
    """Read a URL.

    Raises:
        InvalidInput: It is no http or https URL, holds a user name or a password, or could be read
            in two ways.
    """
    if len(url) > _LONGEST or re.search(r"[\x00-\x20\x7f-\xa0\\]", url):
        raise InvalidInput(
            "a webhook's URL must not be endless, nor hold a space, a control character or a backslash"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput("that is no URL; write it as https://HOST/PATH") from None
    if parts.scheme not in _PORTS:
        raise InvalidInput("a webhook's URL must begin with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidInput("a webhook's URL must not hold a user name or a password")
    if port == 0:
        raise InvalidInput("port 0 cannot be called")
    target = Target(parts.scheme, _host(parts), port or _PORTS[parts.scheme], _path(parts))
    if len(target.url) > _LONGEST:
        raise InvalidInput("that URL is too long")
    return target


def check_url(url: str, reach: Reach) -> Target:
    """Check what can be checked of a webhook's URL before its name is resolved.

    Args:
        url: The URL as it was given.
        reach: Judges an address that the URL names instead of a host.

    Raises:
        InvalidInput: It cannot be a webhook's URL, or names an address that may not be called.
    """
    target = parse_target(url)
    address = literal_address(target.host)
    if target.host == "localhost" or target.host.endswith(".localhost"):
        address = "127.0.0.1"
    if address is not None and not reach.allows(address):
        raise InvalidInput(
            "webhooks may not point to loopback, link-local or private addresses, nor to this service's own "
            "host (webhooks.allow_private)"
        )
    return target


def redirected(target: Target, location: str) -> Target:
    """Return where a redirect leads.

    Raises `InvalidInput` like `parse_target`, and for one from https to http.
    """
    if not location:
        raise InvalidInput("it does not say where to")
    try:
        joined = urljoin(target.url, location)
    except ValueError:
        raise InvalidInput("that is no URL") from None
    following = parse_target(joined)
    if target.scheme == "https" and following.scheme == "http":
        raise InvalidInput("it leads from https to http")
    return following


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    with contextlib.suppress(ValueError):
        if not parts.netloc.startswith("["):
            host = host.encode("idna").decode().lower()
            if _NAME.fullmatch(host):
                return host
        elif "%" not in host:
            return str(ip_address(host))
    raise InvalidInput("a webhook's URL must name a host: a domain name or an address")


def _path(parts: SplitResult) -> str:
    path = parts.path or "/"
    return quote(f"{path}?{parts.query}" if parts.query else path, safe=_PLAIN)
