"""Where a build VM may go: the package indexes that the settings name, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from emberbox.net.addresses import is_public, is_public_or_private
from emberbox.net.names import AddressRefused, NameUnknown, SystemResolver, checked_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emberbox.config import PackageSettings
    from emberbox.runtimes.package_tools.base import PackageTool

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
    def of(
        cls, destination: Destination, environment: Mapping[str, str] | None = None
    ) -> UpstreamProxy | None:
        """Return the proxy that the host's environment names; None where the host goes there itself."""
        variables = os.environ if environment is None else environment
        name = "http_proxy" if destination.plain else "https_proxy"
        address = (
            variables.get(name)
            or variables.get(name.upper())
            or variables.get("all_proxy")
            or variables.get("ALL_PROXY")
        )
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
        settings: Its indexes and further hosts. An index is reached wherever it is, as its owner
            set it; hosts besides only at public addresses.
        tool: Whose index.
    """

    def __init__(self, settings: PackageSettings, tool: PackageTool) -> None:
        address = tool.index(settings)
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
        """Return the addresses of a destination worth a try; raises `Refused` unless all are allowed."""
        host, allowed = destination.host, self._allowed(destination)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await checked_addresses(SystemResolver(), host, destination.port, allowed)
        except (NameUnknown, TimeoutError) as error:
            raise Refused(f"{host} has no address that can be looked up ({error})") from error
        except AddressRefused as error:
            why = "has private addresses, or too many, which a package's host must not have"
            raise Refused(f"{host} {why}") from error

    def _allowed(self, destination: Destination) -> Callable[[str], bool]:
        if destination == self._index:
            return lambda _: True
        return is_public_or_private if self._allow_private else is_public
