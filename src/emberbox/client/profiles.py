"""Servers whose addresses and keys were saved: `profiles.toml`, for its owner alone."""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput, InvalidSettings
from emberbox.files.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SAFE = re.compile(r"[\x21-\x7e]*")
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """A saved server. The key is not shown."""

    name: str
    server: str
    api_key: str | None = field(default=None, repr=False)


class Profiles:
    """The file of profiles. Each call reads it anew; changes appear whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Profiles:
        """Return the profiles of this user: in the XDG configuration folder."""
        home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME') or Path.home()}/.config"
        return cls(Path(home) / "emberbox/profiles.toml")

    def all(self) -> list[Profile]:
        """Return every profile, by name.

        Raises `InvalidSettings` for a file with mistakes, or one that others can read.
        """
        return sorted(self._read()[1].values(), key=lambda profile: profile.name)

    def current(self) -> str | None:
        """Return the name of the profile that was saved or chosen last; None when there is none."""
        return self._read()[0]

    def get(self, name: str | None = None) -> Profile | None:
        """Return a profile; None without a name when there is no current one.

        Raises:
            InvalidInput: There is no profile of that name.
            InvalidSettings: As for `all`.
        """
        current, found = self._read()
        if name is None:
            return found.get(current or DEFAULT)
        if name not in found:
            known = (
                f"here are: {', '.join(sorted(found))}"
                if found
                else "none was saved; see emberbox login --help"
            )
            raise InvalidInput(f"there is no profile {name!r}; {known}")
        return found[name]

    def save(self, profile: Profile) -> None:
        """Add or replace a profile, and make it the current one.

        Raises `InvalidInput` for a name that cannot be one.
        """
        if not _NAME.fullmatch(profile.name):
            raise InvalidInput(
                f"{profile.name!r} cannot name a profile: letters, digits, - and _, at most 64"
            )
        _, found = self._read()
        self._write(profile.name, {**found, profile.name: profile})

    def choose(self, name: str) -> None:
        """Make a profile the current one. Raises `InvalidInput` when there is none of that name."""
        self.get(name)
        self._write(name, self._read()[1])

    def delete(self, name: str) -> None:
        """Forget a profile. Raises `InvalidInput` when there is none of that name."""
        self.get(name)
        current, found = self._read()
        del found[name]
        self._write(None if current == name else current, found)

    def _read(self) -> tuple[str | None, dict[str, Profile]]:
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                # On Windows the mode tells nothing: a user's own folder is closed to others by other means.
                if mode & 0o077 and sys.platform != "win32":
                    raise InvalidSettings(
                        f"{self.path} holds keys, and others may use it; mend it: chmod 600 {self.path}"
                    )
                return _parse(tomllib.load(file))
        except FileNotFoundError:
            return None, {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InvalidSettings(f"{self.path}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidSettings(
                f"{self.path} is no file of profiles; move it away and use emberbox login"
            ) from error

    def _write(self, current: str | None, profiles: Mapping[str, Profile]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(self.path, _format(current, profiles), durable=True)


def _parse(values: dict[str, Any]) -> tuple[str | None, dict[str, Profile]]:
    tables = values.get("profiles", {}).items()
    found = {name: Profile(name, str(table["server"]), table.get("api_key")) for name, table in tables}
    current = values.get("current")
    return (current if isinstance(current, str) else None), found


def _format(current: str | None, profiles: Mapping[str, Profile]) -> str:
    lines = ["# Written by emberbox login."]
    if current is not None:
        lines.append(f'current = "{current}"')
    for name in sorted(profiles):
        lines += ["", f"[profiles.{name}]", f'server = "{_plain(profiles[name].server)}"']
        if key := profiles[name].api_key:
            lines.append(f'api_key = "{_plain(key)}"')
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    if not _SAFE.fullmatch(text):
        raise InvalidInput("a profile's address and key hold visible ASCII characters alone")
    return text.replace("\\", "\\\\").replace('"', '\\"')
