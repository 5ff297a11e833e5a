"""What all requests to Firecracker's API share: how they become JSON, and the checks of their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

from emberbox.errors import InvalidInput

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")
_LONGEST_TEXT = 4095
LARGEST_U32 = 2**32 - 1


class Request:
    """One request: a frozen dataclass with the JSON's fields; those that are None are left out.

    `route` is the path with its parts in braces filled from the fields of those names.
    """

    __slots__ = ()

    method: ClassVar[str]
    route: ClassVar[str]

    @property
    def path(self) -> str:
        """The path that the request goes to."""
        if "{" not in self.route:
            return self.route
        return re.sub(r"\{(\w+)\}", lambda part: str(getattr(self, part[1])), self.route)

    def body(self) -> dict[str, Any] | None:
        """Return the JSON object that the request carries; None for none at all."""
        return values_of(self)


def values_of(part: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON, without those that are None."""
    return {
        field.name: _json(value) for field in fields(part) if (value := getattr(part, field.name)) is not None
    }


def _json(value: Any) -> Any:
    if is_dataclass(value):
        return values_of(value)
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def check_id(name: str, value: str) -> None:
    """Raise `InvalidInput` for a device id that Firecracker refuses; the id is part of the path."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidInput(f"{name} {value!r}: 1 to 64 of a-z, A-Z, 0-9 and '_'")


def check_text(name: str, value: str | None, *, optional: bool = False) -> None:
    """Raise `InvalidInput` for a path or an argument that cannot be one. None passes where it is optional."""
    if value is None and optional:
        return
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or "\0" in value:
        raise InvalidInput(f"{name}: 1 to {_LONGEST_TEXT} characters, none of them NUL")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name} {value!r}: must be valid Unicode, since it travels as JSON") from error


def check_number(name: str, value: int | None, least: int, most: int, *, optional: bool = False) -> None:
    """Raise `InvalidInput` for what is not a whole number within these bounds.

    None passes where it is optional.
    """
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(f"{name} {value!r}: a whole number from {least} to {most}")


def check_choice(name: str, value: str | None, allowed: tuple[str, ...], *, optional: bool = True) -> None:
    """Raise `InvalidInput` for what is not among the names allowed. None passes where it is optional."""
    if value not in (*allowed, *((None,) if optional else ())):
        raise InvalidInput(f"{name} {value!r}: one of {', '.join(allowed)}")


def check_flag(name: str, value: bool | None, *, optional: bool = True) -> None:
    """Raise `InvalidInput` for what is not a bool. None passes where it is optional."""
    if not isinstance(value, bool) and not (value is None and optional):
        raise InvalidInput(f"{name} {value!r}: True or False")
