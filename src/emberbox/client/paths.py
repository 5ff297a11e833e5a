"""Paths of the API."""

from __future__ import annotations

from urllib.parse import quote


def path_of(*parts: str) -> str:
    """Return the path of what these parts name, such as `jobs`, an id, `cancel`; ids may be anything."""
    return "/".join(("/v1", *(quote(part, safe="") for part in parts)))
