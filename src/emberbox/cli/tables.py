"""Tables for people: as wide as the terminal, plain where there is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, RenderableType

PLAIN_WIDTH = 200
"""Columns where standard output is no terminal, so that lines are not broken for a reader that has no width."""


def console() -> Console:
    """Return a console on standard output that neither reads markup in what it prints nor colours what looks like numbers."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def show(*things: RenderableType) -> None:
    """Print to standard output; without a terminal, no line ends in the blanks that fill up a table."""
    output = console()
    if output.is_terminal:
        output.print(*things, sep="\n")
        return
    with output.capture() as captured:
        output.print(*things, sep="\n")
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows under their columns' names; those in `right` are aligned to the right."""
    from rich.table import Table

    from emberbox.cli.failures import printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, name in enumerate(columns):
        # What a row is known by stays in one piece, to be copied.
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    show(table)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def megabytes(size: int) -> str:
    """Return a size in bytes for people, in MB."""
    return f"{size / 1e6:,.0f} MB"


def when(unix_s: float) -> str:
    """Return a moment in local time."""
    import datetime

    return datetime.datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M")
