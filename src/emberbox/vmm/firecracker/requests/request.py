"""One request to Firecracker's API, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of Firecracker. Its fields have the names that the API description gives them.

    Args:
        method: `PUT` to make something, `PATCH` to change it.
        path: What it is about.
        body: The JSON object that it carries.
        optional: Fields of `body` that are left out where a Firecracker does not know them.
    """

    method: str
    path: str
    body: Mapping[str, Any]
    optional: tuple[str, ...] = ()
