"""Where the server is, and the key for it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emberbox.client.profiles import Profiles
from emberbox.errors import InvalidInput, NotAuthenticated, ServerUnreachable
from emberbox.net.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOCAL_SERVER = "http://127.0.0.1:8470"
"""Where `emberbox serve` listens unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server and the key that it is called with.

    Args:
        server: Its address, without a slash at the end.
        api_key: The key; None to send none. Not shown.
        source: Where the address was found, for people.
    """

    server: str
    api_key: str | None = field(default=None, repr=False)
    source: str = "given"

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, where no proxy belongs in between."""
        return is_loopback(urlsplit(self.server).hostname or "")


def find_place(
    server: str | None = None,
    api_key: str | None = None,
    *,
    profile: str | None = None,
    data: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Place:
    """Find the server and its key.

    The first that names one wins: the arguments, a profile that is named, EMBERBOX_SERVER and
    EMBERBOX_API_KEY, the profile that was saved last or is named by EMBERBOX_PROFILE, a service
    that runs on this machine on the same data folder. Keys of profiles and of a local service are
    only ever sent to their own server.

    Args:
        server: Address (`https://…`).
        api_key: The key.
        profile: Name of a saved profile.
        data: The data folder of a local service; None for that of the settings.
        environment: Variables to read; None for this process's own.

    Raises:
        InvalidInput: An address that is none, or no such profile.
        InvalidSettings: The file of profiles or the settings have a mistake.
    """
    variables = os.environ if environment is None else environment
    found = _find_server(server, profile, data, variables)
    key = (
        api_key
        or (None if profile is not None and found.api_key else variables.get("EMBERBOX_API_KEY"))
        or found.api_key
    )
    key = key or _key_of_server(found.server, data, variables)
    return Place(found.server, check_key(key) if key else None, found.source)


def _find_server(
    server: str | None, profile: str | None, data: Path | None, variables: Mapping[str, str]
) -> Place:
    if server:
        return Place(check_server(server))
    if profile is None and (named := variables.get("EMBERBOX_SERVER")):
        return Place(check_server(named), source="EMBERBOX_SERVER")
    saved = Profiles.of(variables).get(profile or variables.get("EMBERBOX_PROFILE"))
    if saved is not None:
        return Place(check_server(saved.server), saved.api_key, f"profile {saved.name!r}")
    return local_service(data, variables) or Place(LOCAL_SERVER, source="default")


def _key_of_server(server: str, data: Path | None, variables: Mapping[str, str]) -> str | None:
    for saved in Profiles.of(variables).all():
        if saved.server == server:
            return saved.api_key
    local = local_service(data, variables)
    return local.api_key if local is not None and local.server == server else None


def local_service(data: Path | None = None, environment: Mapping[str, str] | None = None) -> Place | None:
    """Return the service that runs on a data folder of this machine.

    None where none does, or its files may not be read. On Windows that is always None: no service
    runs there.

    Args:
        data: The data folder; None for that of the settings.
        environment: Variables to read; None for this process's own.
    """
    if data is None:
        from emberbox.config import load_settings

        data = load_settings(os.environ if environment is None else environment).data
    if sys.platform == "win32":
        return None  # no service runs there; and to ask whether a process lives, as below, would end it
    try:
        told: Any = json.loads((data / "service.json").read_text("utf-8"))
        server, process = check_server(told["url"]), int(told["pid"])
    except (OSError, ValueError, KeyError, TypeError, InvalidInput):
        return None
    return Place(server, _read_key(data / "admin.key"), f"service on {data}") if _lives(process) else None


def _read_key(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (PermissionError, OverflowError):
        return True  # another user's
    except ProcessLookupError:
        return False
    return True


def check_server(text: str) -> str:
    """Return an address in its plain form; raises `InvalidInput` for what is none, or holds a password."""
    try:
        parts = urlsplit(text.strip())
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    if (
        not usable
        or parts.query
        or parts.fragment
        or any(not 32 < ord(character) < 127 for character in text.strip())
    ):
        raise InvalidInput("the server's address must be like https://host:port")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("the server's address must hold no user and no password; pass the key by itself")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def check_key(key: str) -> str:
    """Return the key without blanks around it.

    Raises `InvalidInput`, which does not show the key, for what cannot be a header.
    """
    plain = key.strip()
    if not plain or any(not 32 < ord(character) < 127 for character in plain):
        raise InvalidInput("the API key holds characters that no key has; was it copied whole?")
    return plain


def keyless(server: str) -> NotAuthenticated:
    """Return the error for a server that asks for a key where there is none to send."""
    return NotAuthenticated(
        f"{server} needs an API key, and none was found: set EMBERBOX_API_KEY, "
        f"or save one: emberbox login --server {server}"
    )


def unreachable(server: str, why: str) -> ServerUnreachable:
    """Return the error for a server that does not answer."""
    hint = (
        "is `emberbox serve` running there?" if Place(server).local else "check the address and the network"
    )
    return ServerUnreachable(f"no answer from {server}: {why}; {hint}")
