"""How the API is asked: paths, and labels to filter by."""

from __future__ import annotations

from urllib.parse import quote


def path_of(*parts: str) -> str:
    """Return the path of what these parts name, such as `jobs`, an id, `cancel`; ids may be anything."""
    return "/".join(("/v1", *(quote(part, safe="") for part in parts)))


def label_filter(label: tuple[str, str] | str | None) -> str | None:
    """Return a label to filter by as the API takes it: `name:value`."""
    return label if label is None or isinstance(label, str) else f"{label[0]}:{label[1]}"
