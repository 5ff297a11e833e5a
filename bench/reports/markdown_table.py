"""Tables in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return a table's lines; its first `left` columns hold text, the others numbers."""
    ruler = ["---" if number < left else "---:" for number in range(len(columns))]
    return ["| " + " | ".join(cell(text) for text in line) + " |" for line in (columns, ruler, *rows)]


def cell(text: str) -> str:
    """Return a text as it may stand in a cell: in one line, with its strokes escaped."""
    return " ".join(text.split()).replace("|", "\\|")
