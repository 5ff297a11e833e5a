"""Where a build VM may go: the package indexes that the settings name, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from emberbox.sandbox.packages import index_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.config import PackageSettings

TLS_PORT = 443
_DEFAULT_PORTS = {"http": 80, "https": TLS_PORT}
CONNECT_S = 20.0


class Refused(Exception):
    """The proxy does not go there; the text says why."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A host and a port. `plain`: HTTP that the proxy itself forwards, else a tunnel."""

    host: str
    port: int
    plain: bool


@dataclass(frozen=True, slots=True)
class UpstreamProxy:
    """The proxy that the host itself must use."""

    host: str
    port: int
    authorization: str | None

    @classmethod
    def of(cls, destination: Destination, environment: Mapping[str, str] | None = None) -> UpstreamProxy | None:
        """Return the proxy that the host's environment names for a destination; None where it goes there itself."""
        variables = os.environ if environment is None else environment
        name = "http_proxy" if destination.plain else "https_proxy"
        address = variables.get(name) or variables.get(name.upper()) or variables.get("all_proxy") or variables.get("ALL_PROXY")
        bypass = {"no": variables.get("no_proxy") or variables.get("NO_PROXY") or ""}
        if not address or proxy_bypass_environment(f"{destination.host}:{destination.port}", bypass):
            return None
        parts = urlsplit(address if "//" in address else f"http://{address}")
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}" if parts.username else None
        return cls(parts.hostname or "", parts.port or 3128, authorization)


class ProxyRules:
    """What a build VM may reach.

    Args:
        settings: Its indexes and further hosts. An index is reached wherever it is, as its owner set it; hosts besides only at
            public addresses.
        tool: `pip` or `npm`: whose index.
    """

    def __init__(self, settings: PackageSettings, tool: str) -> None:
        address = index_of(settings, tool)
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.index = address
        self._index = Destination((parts.hostname or "").lower(), port, parts.scheme == "http")
        self._allow_private = settings.allow_private
        self._hosts = frozenset(host.strip().lower() for host in settings.hosts.split(",") if host.strip())

    def check(self, host: str, port: int, *, plain: bool) -> Destination:
        """Return where to go; raises `Refused`."""
        wanted = Destination(host.lower().rstrip("."), port, plain)
        if wanted == self._index or (not plain and port == TLS_PORT and wanted.host in self._hosts):
            return wanted
        raise Refused(f"{host}:{port} is no package index that this host allows")

    async def addresses(self, destination: Destination) -> list[str]:
        """Return the addresses of a destination that may be connected to; raises `Refused` where there is none."""
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await asyncio.get_running_loop().getaddrinfo(
                    destination.host, destination.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
        except (OSError, UnicodeError, TimeoutError) as error:
            raise Refused(f"{destination.host} has no address that can be looked up ({error})") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if destination == self._index or _public(address, self._allow_private)]
        if not allowed:
            raise Refused(f"{destination.host} has only private addresses, which a package's host must not have")
        return allowed


def _public(address: str, allow_private: bool = False) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    chosen = mapped if mapped is not None else parsed
    if allow_private and not (chosen.is_link_local or chosen.is_unspecified or chosen.is_multicast):
        return True
    return chosen.is_global and not chosen.is_multicast
