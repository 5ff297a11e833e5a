"""Reads the fields of a TOML table one by one, and tells of every mistake where it is and what is allowed."""

from __future__ import annotations

import difflib
import re
import tomllib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.errors import InvalidManifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.bounds import Range

MANIFEST_NAME = "runtime.toml"
NAME_PATTERN = r"[a-z][a-z0-9-]{0,31}"
NAME_ALLOWED = "1 to 32 of a-z, 0-9 and '-', starting with a letter"
FILE_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}"

_MAX_BYTES = 65_536
_Default = TypeVar("_Default", bound="int | None")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_table(file: Path) -> dict[str, Any]:
    """Return what a manifest holds; raises `InvalidManifest`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InvalidManifest(str(file), "(file)", f"is larger than {_MAX_BYTES} bytes")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise InvalidManifest(str(file), "(file)", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidManifest(str(file), "(file)", f"is not TOML: {error}") from error


class Fields:
    """One table of a manifest. Each field is asked for once; `finish` refuses whatever was not asked for.

    Args:
        file: The manifest, for messages.
        values: The table as TOML gave it.
        prefix: The table's name with a dot behind it; empty at the top.
    """

    def __init__(self, file: Path, values: Mapping[str, Any], prefix: str = "") -> None:
        self._file = file
        self._values = values
        self._prefix = prefix
        self._known: list[str] = []

    def mistake(self, name: str, problem: str) -> InvalidManifest:
        """Return the error that names this field; the caller raises it."""
        return InvalidManifest(str(self._file), f"{self._prefix}{name}", problem)

    def text(
        self, name: str, pattern: str | None = None, allowed: str = "text", default: str | None = None
    ) -> str:
        """Return a text of one line.

        `allowed` describes `pattern`; without a default the field must be there.
        """
        value = self._take(name, default, f"is missing; it must be {allowed}")
        return self._check_text(name, value, pattern, allowed)

    def optional_text(self, name: str, pattern: str, allowed: str) -> str | None:
        """Return a text of one line, or None when the field is missing."""
        value = self._take(name, None, "", optional=True)
        return None if value is None else self._check_text(name, value, pattern, allowed)

    def texts(
        self, name: str, pattern: str | None = None, allowed: str = "text", at_least: int = 0
    ) -> tuple[str, ...]:
        """Return a list of texts, each as `text` allows; missing means empty."""
        value = self._take(name, [], "")
        if not isinstance(value, list):
            raise self.mistake(name, f"must be a list, each entry {allowed}; not {_shown(value)}")
        if len(value) < at_least:
            raise self.mistake(
                name,
                f"must have at least {at_least} {'entry' if at_least == 1 else 'entries'}, each {allowed}",
            )
        return tuple(
            self._check_text(f"{name}[{index}]", entry, pattern, allowed) for index, entry in enumerate(value)
        )

    def one_or_more(self, name: str, pattern: str, allowed: str) -> tuple[str, ...]:
        """Return a text, or a list of texts of which none occurs twice; missing means empty."""
        if isinstance(self._values.get(name), str):
            return (self.text(name, pattern, allowed),)
        return self.distinct(name, pattern, allowed)

    def distinct(self, name: str, pattern: str, allowed: str) -> tuple[str, ...]:
        """Return a list of texts of which none occurs twice."""
        values = self.texts(name, pattern, allowed)
        for value in values:
            if values.count(value) > 1:
                raise self.mistake(name, f"names {value!r} twice")
        return values

    def integer(self, name: str, allowed: Range, default: _Default) -> int | _Default:
        """Return a whole number within bounds, or the default when the field is missing."""
        value = self._take(name, default, "", optional=True)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
            raise self.mistake(
                name,
                f"must be a whole number from {allowed.least} to {allowed.most}, not {_shown(value)}",
            )
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._take(name, default, "")
        if not isinstance(value, bool):
            raise self.mistake(name, f"must be true or false, not {_shown(value)}")
        return value

    def number(self, name: str, allowed: Range, default: float) -> float:
        """Return a number above one bound and up to another."""
        value = self._take(name, default, "")
        if not isinstance(value, int | float) or isinstance(value, bool) or value not in allowed:
            raise self.mistake(
                name,
                f"must be a number above {allowed.least:g} and up to {allowed.most:g}, not {_shown(value)}",
            )
        return float(value)

    def variables(self, name: str) -> Mapping[str, str]:
        """Return a table of environment variables; missing means empty."""
        value = self._take(name, {}, "")
        if not isinstance(value, dict):
            raise self.mistake(name, f"must be a table of variable names and texts, not {_shown(value)}")
        for key, text in value.items():
            if not _VARIABLE.fullmatch(key):
                raise self.mistake(
                    f"{name}.{key}", "a variable's name is letters, digits and '_', not starting with a digit"
                )
            if not isinstance(text, str) or "\0" in text:
                raise self.mistake(f"{name}.{key}", f"must be text, in quotes; not {_shown(text)}")
        return MappingProxyType(dict(value))

    def has(self, name: str) -> bool:
        """Tell whether a field is there, whatever it holds."""
        return name in self._values

    def table(self, name: str) -> Fields:
        """Return a table within this one; a missing table is an empty one."""
        value = self._take(name, {}, "")
        if not isinstance(value, dict):
            raise self.mistake(name, f"must be a table ([{self._prefix}{name}]), not {_shown(value)}")
        return Fields(self._file, value, f"{self._prefix}{name}.")

    def optional_table(self, name: str) -> Fields | None:
        """Return a table within this one, or None when it is missing."""
        table = self.table(name)
        return table if self.has(name) else None

    def finish(self) -> None:
        """Raise `InvalidManifest` for the first field that nobody asked for, with the nearest known name."""
        for name in self._values:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise self.mistake(
                    name, f"is not a known field; {hint}Known here: {', '.join(sorted(self._known))}"
                )

    def _take(self, name: str, default: Any, missing: str, *, optional: bool = False) -> Any:
        self._known.append(name)
        if name in self._values:
            return self._values[name]
        if default is None and not optional:
            # A misspelt field is the likeliest reason for a missing one.
            near = difflib.get_close_matches(name, list(self._values), 1)
            raise self.mistake(name, missing + (f" (is {near[0]!r} a misspelling of it?)" if near else ""))
        return default

    def _check_text(self, name: str, value: Any, pattern: str | None, allowed: str) -> str:
        if not isinstance(value, str):
            raise self.mistake(name, f"must be {allowed}, in quotes; not {_shown(value)}")
        if any(ord(character) < 32 for character in value):
            raise self.mistake(name, "must not hold control characters or line ends")
        if pattern is not None and not re.fullmatch(pattern, value):
            raise self.mistake(name, f"must be {allowed}, not {_shown(value)}")
        return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
