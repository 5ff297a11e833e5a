"""What the head of a request says of its body."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def announced_bytes(scope: Scope) -> int | None:
    """Return how many bytes the body has; None where that is not said."""
    size: int | None = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            # int() takes more than digits; what is no length is left to the count.
            return int(value) if value.isdigit() and len(value) < 20 else None
        if name == b"transfer-encoding":
            size = None
    return size
