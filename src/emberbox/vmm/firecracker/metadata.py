"""Requests that set up Firecracker's metadata service, which a guest reads over its network."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from emberbox.errors import InvalidInput
from emberbox.vmm.firecracker.request import Request, check_choice, check_flag, check_id

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINK_LOCAL = re.compile(r"169\.254\.([1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-4])\.(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])")


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdsConfig(Request):
    """The metadata service: which interfaces reach it, and at which link-local address (None: 169.254.169.254)."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/mmds/config"

    network_interfaces: tuple[str, ...]
    version: str | None = None
    ipv4_address: str | None = None
    imds_compat: bool | None = None

    def __post_init__(self) -> None:
        for interface in self.network_interfaces:
            check_id("network_interfaces", interface)
        check_choice("version", self.version, ("V1", "V2"))
        check_flag("imds_compat", self.imds_compat)
        if self.ipv4_address is not None and not _LINK_LOCAL.fullmatch(self.ipv4_address):
            raise InvalidInput(f"ipv4_address {self.ipv4_address!r}: from 169.254.1.0 to 169.254.254.255")


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdsContents(Request):
    """What the metadata service tells, replacing what it told before."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/mmds"

    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        _check_json(self.data)

    def body(self) -> dict[str, Any] | None:
        """Return the data itself."""
        return dict(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdsUpdate(MmdsContents):
    """What the metadata service tells, changed: a JSON merge patch (RFC 7396)."""

    method: ClassVar[str] = "PATCH"


def _check_json(data: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(data), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata must be JSON: {error}") from error
