"""Tables for people: as wide as the terminal, plain where there is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from emberbox.text import escaped_json

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console, RenderableType

_T = TypeVar("_T")
PLAIN_WIDTH = 200
"""Columns where standard output is no terminal, so that lines are not broken for a reader that has
no width."""


def console() -> Console:
    """Return a console on standard output that adds neither markup nor colours to what it prints."""
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
    write_out("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows under their columns' names; those in `right` are aligned to the right."""
    from rich.table import Table

    from emberbox.cli.failures import printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, name in enumerate(columns):
        # What a row is known by stays in one piece, to be copied.
        table.add_column(
            name, justify="right" if name in right else "left", overflow="fold", no_wrap=number == 0
        )
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    show(table)


def print_found(
    found: Sequence[_T],
    columns: Sequence[str],
    row: Callable[[_T], Sequence[str]],
    *,
    json: bool,
    plain: Callable[[_T], object] = lambda item: item,
    right: Sequence[str] = (),
    nothing: str | None = None,
) -> bool:
    """Print a list: as a JSON array, or as a table.

    Args:
        found: What is listed.
        columns: Names of the table's columns.
        row: Makes a row of an item.
        json: Whether JSON is wanted.
        plain: Makes an item JSON-ready; left out, items are so already.
        right: Columns that are aligned to the right.
        nothing: Told on standard error in place of an empty table; None for nothing.

    Returns:
        Whether people were shown something; False where they are to be told why there is nothing.
    """
    from emberbox.cli.failures import say

    if json:
        print_json([plain(item) for item in found])
    elif found:
        print_table(columns, [row(item) for item in found], right=right)
    elif nothing is not None:
        say(nothing)
    return json or bool(found)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print what is known of one thing, each by its name in a line of its own."""
    from rich.table import Table
    from rich.text import Text

    from emberbox.cli.failures import printable

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(name, Text(printable(value)))
    show(table)


def print_removed(what: str, names: Iterable[str], *, dry_run: bool) -> None:
    """Print what was removed, or would be, and the name of each."""
    lines = [f"{'would remove' if dry_run else 'removed'} {what}", *(f"  {name}" for name in names)]
    write_out("".join(f"{line}\n" for line in lines))


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON; in one line where `indent` is None."""
    import json

    write_out(escaped_json(json.dumps(value, indent=indent, ensure_ascii=False)) + "\n")


def write_out(text: str) -> None:
    """Write text to standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def megabytes(size: int) -> str:
    """Return a size in bytes for people, in MB."""
    return f"{size / 1e6:,.0f} MB"


def when(unix_s: float) -> str:
    """Return a moment in local time, to the minute."""
    import datetime

    return datetime.datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M")


def moment(time: datetime.datetime | None) -> str:
    """Return a moment in local time, to the second; `-` for none."""
    return "-" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
