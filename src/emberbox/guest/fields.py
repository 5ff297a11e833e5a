"""Reading what a guest claims: every field's type and range is checked before it is used."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.files.paths import stays_below
from emberbox.guest.frames import violation
from emberbox.text import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.errors import GuestViolation

_T = TypeVar("_T")

MAX_COUNT = 2**63 - 1
"""Largest count that is believed."""
_TOKEN = re.compile(r"[a-z][a-z0-9_]{0,63}")


_ONE_LINE = str.maketrans("\r\n\t", "   ")


def clean_text(text: str, limit: int = 500) -> str:
    """Return `text` fit for a message or a log.

    It has at most `limit` characters, one line, and what steers a terminal is written out.
    """
    return escaped(text[:limit].translate(_ONE_LINE))[:limit]


class Fields:
    """The fields of one JSON object from a guest. Each reader raises `GuestViolation` for what it cannot be.

    Args:
        values: The object.
        where: Names it in messages (`RESULT of exec`).
    """

    __slots__ = ("_values", "_where")

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def integer(self, name: str, *, low: int = 0, high: int = MAX_COUNT) -> int:
        """Return the integer `name`, from `low` to `high`."""
        value = self._values.get(name)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(name, f"an integer from {low} to {high}")
        return value

    def optional_integer(self, name: str, *, low: int = 0, high: int = MAX_COUNT) -> int | None:
        """Return the integer `name`, or None where it is null or missing."""
        return None if self._values.get(name) is None else self.integer(name, low=low, high=high)

    def integers(self, *names: str) -> dict[str, Any]:
        """Return integers that are counts by their names."""
        return {name: self.integer(name) for name in names}

    def number(self, name: str, *, high: float) -> float:
        """Return the finite number `name`, from 0 to `high`."""
        value = self._values.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= high:
            raise self._wrong(name, f"a number from 0.0 to {high}")
        return float(value)

    def boolean(self, name: str, *, default: bool | None = None) -> bool:
        """Return the truth value `name`; `default` where it is missing, unless that is None."""
        if default is not None and name not in self._values:
            return default
        return self._typed(name, bool, "true or false")

    def text(self, name: str, *, limit: int = 500) -> str:
        """Return the text `name`, cleaned and cut to `limit` characters."""
        return clean_text(self._typed(name, str, "text"), limit)

    def optional_text(self, name: str, *, limit: int = 500) -> str | None:
        """Return the text `name`, cleaned; None where it is null or missing."""
        return None if self._values.get(name) is None else self.text(name, limit=limit)

    def token(self, name: str) -> str:
        """Return the identifier `name`: a small letter, then up to 63 letters, digits, underscores."""
        value = self._typed(name, str, "an identifier")
        if not _TOKEN.fullmatch(value):
            raise self._wrong(name, "an identifier")
        return value

    def choice(self, name: str, allowed: frozenset[str]) -> str:
        """Return the text `name`, which must be one of `allowed`."""
        wanted = f"one of {', '.join(sorted(allowed))}"
        value = self._typed(name, str, wanted)
        if value not in allowed:
            raise self._wrong(name, wanted)
        return value

    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the short texts in the list `name`, at most 64, cleaned."""
        wanted = "a list of at most 64 texts"
        value = self._typed(name, list, wanted)
        if len(value) > 64 or any(type(item) is not str for item in value):
            raise self._wrong(name, wanted)
        return tuple(clean_text(item, 64) for item in value)

    def object(self, name: str) -> Fields:
        """Return the fields of the object `name`."""
        return Fields(self._typed(name, dict, "an object"), f"{self._where}, {name}")

    def file_name(self) -> str:
        """Return the relative name in `name` or `name_b64`.

        Bytes that are not UTF-8 become surrogate escapes.

        A name can be no way out: absolute, empty, `.`, `..` and NUL are violations.
        """
        name = self._raw_name().decode("utf-8", "surrogateescape")
        if not stays_below(name):
            raise self._wrong("name", "a relative path without empty or dot parts, at most 4096 bytes")
        return name

    def _raw_name(self) -> bytes:
        name, encoded = self._values.get("name"), self._values.get("name_b64")
        try:
            if type(name) is str and encoded is None:
                return name.encode("utf-8")
            if type(encoded) is str and name is None:
                return base64.b64decode(encoded, validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError) as error:
            raise self._wrong("name", "UTF-8, or base64 in name_b64") from error
        raise self._wrong("name", "given as name or name_b64, not both")

    def _typed(self, name: str, kind: type[_T], wanted: str) -> _T:
        value = self._values.get(name)
        if not isinstance(value, kind):
            raise self._wrong(name, wanted)
        return value

    def _wrong(self, name: str, wanted: str) -> GuestViolation:
        return violation(f"{self._where}: {name} must be {wanted}")
