# Written by scripts/sync_client.py from _async/pages.py; change that instead.
"""Lists that fetch their pages as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.schemas.base import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from emberbox.client._sync.transport import Transport

_M = TypeVar("_M", bound="BaseModel")
PAGE = 100
"""What is fetched at once; the server gives at most 200."""


def all_pages(
    transport: Transport, kind: type[_M], path: str, *, limit: int | None = None, **query: Any
) -> Iterator[_M]:
    """Yield everything in a list, newest first; the next page is fetched when it is reached.

    Args:
        transport: The way to the server.
        kind: What the list holds.
        path: The list's path.
        limit: Most to yield; None for all.
        query: Filters; those that are None are left out.
    """
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        page = transport.get(Page[kind], path, cursor=cursor, limit=size, **query)  # type: ignore[valid-type]
        yield from page.items[:left]
        left = None if left is None else left - len(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return


def label_filter(label: tuple[str, str] | str | None) -> str | None:
    """Return a label to filter by as the API takes it: `name:value`."""
    return label if label is None or isinstance(label, str) else f"{label[0]}:{label[1]}"
