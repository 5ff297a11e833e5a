"""What the commands share that speak to a server: their options, and the way there."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from emberbox.cli import exit_codes
from emberbox.cli.failures import guarded
from emberbox.cli.interrupts import run_interruptible
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    from pydantic import BaseModel

    from emberbox.cli.context import GlobalOptions
    from emberbox.client import AsyncClient

_M = TypeVar("_M", bound="BaseModel")
RETRIES = 2
"""A person waits: a server that does not answer is told of after a second."""
LISTED = 50

Server = Annotated[str | None, typer.Option("--server", metavar="URL", help="The server [env: EMBERBOX_SERVER].")]
ProfileName = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="A saved server; see: emberbox login --help.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Most to list; 0 for all.")]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE", help="Label; may be repeated.")]
LabelFilter = Annotated[str | None, typer.Option("--label", "-l", metavar="NAME=VALUE", help="Only with this label.")]


def call(
    ctx: typer.Context, server: str | None, profile: str | None, work: Callable[[AsyncClient], Awaitable[int | None]]
) -> int:
    """Run `work` with a client of the chosen server and return its exit code; None counts as 0. Ctrl-C cancels it."""
    options: GlobalOptions = ctx.obj

    async def connected() -> int:
        async with make_client(options, server, profile) as client:
            code = await work(client)
        return exit_codes.OK if code is None else code

    # Guarded here as well: Typer has an answer of its own to a reader that has gone away.
    return guarded(options, lambda: run_interruptible(connected))


def make_client(options: GlobalOptions, server: str | None, profile: str | None) -> AsyncClient:
    """Return a client of the chosen server. Raises `InvalidInput` or `InvalidSettings`."""
    from emberbox.client import AsyncClient

    # Only these lead to another folder than the one that is looked at anyway.
    data = options.settings().data if options.data is not None or options.config is not None else None
    return AsyncClient(server, profile=profile, data=data, retries=RETRIES)


async def take(items: AsyncIterator[_M]) -> list[_M]:
    """Return all of a list."""
    return [item async for item in items]


def bound(limit: int) -> int | None:
    """Return `--limit` as the client takes it."""
    return limit or None


def as_json(value: BaseModel) -> Any:
    """Return an answer as JSON-ready values."""
    return value.model_dump(mode="json")


def print_list(
    json_wanted: bool,
    items: Sequence[_M],
    columns: Sequence[str],
    row: Callable[[_M], Sequence[str]],
    *,
    right: Sequence[str] = (),
) -> None:
    """Print what a list holds: as a JSON array, or as a table."""
    from emberbox.cli.tables import print_json, print_table

    if json_wanted:
        print_json([as_json(item) for item in items])
    elif items:
        print_table(columns, [row(item) for item in items], right=right)


def print_one(json_wanted: bool, value: BaseModel, fields: Iterable[tuple[str, object]]) -> None:
    """Print one thing: as JSON, or its fields below each other; those that are None or empty are left out."""
    from emberbox.cli.failures import printable
    from emberbox.cli.tables import print_json, show

    if json_wanted:
        print_json(as_json(value))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, field in fields:
        if field is not None and field != "":
            table.add_row(name, Text(printable(str(field))))
    show(table)


def print_line(value: object) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def read_labels(given: Iterable[str] | None) -> dict[str, str]:
    """Return the labels of `NAME=VALUE`."""
    labels = {}
    for text in given or ():
        name, joined, value = text.partition("=")
        if not name or not joined:
            raise InvalidInput(f"--label {text!r}: give NAME=VALUE")
        labels[name] = value
    return labels


def label_of(text: str | None) -> tuple[str, str] | None:
    """Return the label to filter by."""
    return None if text is None else next(iter(read_labels([text]).items()))


def shown_labels(labels: dict[str, str]) -> str:
    """Return labels for people."""
    return " ".join(f"{name}={value}" for name, value in labels.items())


def moment(time: datetime | None) -> str:
    """Return a moment in local time; `-` for none."""
    return "-" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def group(app: typer.Typer, name: str, text: str, *commands: tuple[str, Callable[..., Any]]) -> None:
    """Add a command with commands of its own."""
    made = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
    for word, command in commands:
        made.command(word)(command)
    app.add_typer(made, name=name)
