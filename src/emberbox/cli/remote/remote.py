"""What the commands share that speak to a server: their options, and the way there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from emberbox.cli import exit_codes, options
from emberbox.cli.commands import argument, arguments, option, parameter, with_parameters
from emberbox.cli.failures import guarded
from emberbox.cli.interrupts import run_interruptible
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import BaseModel

    from emberbox.cli.context import GlobalOptions
    from emberbox.client import AsyncClient
    from emberbox.schemas.jobs import Job
    from emberbox.schemas.scripts import Script

_M = TypeVar("_M", bound="BaseModel")
Work = Coroutine[Any, Any, int | None]
"""What a command does with a server; the exit code comes of it, and None counts as 0."""
RETRIES = 2
"""A person waits: a server that does not answer is told of after a second."""
LISTED = 50

Limit = Annotated[int, option("--limit", "Most to list; 0 for all.", "N", min=0)]
TeamFilter = Annotated[
    str | None, option("--team", "Another team's id, or all; needs the scope operator.", "TEAM")
]
LabelFilter = Annotated[str | None, option("--label -l", "Only with this label.", "NAME=VALUE")]


@dataclass(slots=True)
class Remote:
    """What a command has that speaks to a server.

    Attributes:
        json: Whether JSON is wanted.
        client: The way to the server; there once the command's coroutine runs.
    """

    json: bool = False
    client: AsyncClient = field(init=False)

    async def print_list(
        self,
        items: AsyncIterator[_M] | Sequence[_M],
        columns: Sequence[str],
        row: Callable[[_M], Sequence[str]],
        *,
        right: Sequence[str] = (),
        nothing: str | None = None,
    ) -> bool:
        """Print a list, as `emberbox.cli.tables.print_found` does."""
        from emberbox.cli.tables import print_found

        found = [item async for item in items] if isinstance(items, AsyncIterator) else items
        return print_found(found, columns, row, json=self.json, plain=as_json, right=right, nothing=nothing)

    def print_one(self, value: BaseModel, fields: Iterable[tuple[str, object]]) -> None:
        """Print one thing: as JSON, or its fields below each other, without those that are None or empty."""
        from emberbox.cli.tables import print_fields, print_json

        if self.json:
            print_json(as_json(value))
        else:
            print_fields((name, str(told)) for name, told in fields if told is not None and told != "")

    def print_id(self, made: Job | Script) -> None:
        """Print the id of what was made, or all of it as JSON."""
        if self.json:
            self.print_one(made, ())
        else:
            typer.echo(made.id)


def identifier(thing: str) -> Any:
    """Return the argument of a command that is about one thing, named by its id."""
    return argument("ID", f"The {thing}'s id.")


def command(
    *taken: options.Option,
    json: str | None = options.JSON.help,
) -> Callable[[Callable[..., Work]], Callable[..., int]]:
    """Make a command of a function that works with a server; its help ends in JSON, server and profile.

    The function takes a `Remote` first, and returns a coroutine that is run connected; Ctrl-C
    cancels it. One that is no `async def` checks its options, and reads its input, before it
    returns a coroutine.

    Args:
        *taken: Further options of the table, which the function takes as keywords.
        json: What the help says of `--json`; None for a command without.
    """
    reached = (*((options.JSON.saying(json),) if json else ()), options.SERVER, options.PROFILE)

    def made(function: Callable[..., Work]) -> Callable[..., int]:
        @wraps(function)
        def run(ctx: typer.Context, *, server: str | None, profile: str | None, **given: Any) -> int:
            there = Remote(given.pop("json", False))
            work = function(there, **given)

            async def connected() -> int:
                async with make_client(ctx.obj, server, profile) as there.client:
                    code = await work
                return exit_codes.OK if code is None else code

            try:
                # Guarded here as well: Typer has an answer of its own to a reader that has gone away.
                return guarded(ctx.obj, lambda: run_interruptible(connected))
            finally:
                work.close()

        context = Parameter("ctx", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        return with_parameters(run, [context, *arguments(function)[1:], *map(parameter, (*taken, *reached))])

    return made


def make_client(given: GlobalOptions, server: str | None, profile: str | None) -> AsyncClient:
    """Return a client of the chosen server: the one named behind the command, else the one before it.

    Raises:
        InvalidInput, InvalidSettings: There is no such profile, or no such address.
    """
    from emberbox.client import AsyncClient

    if server is None and profile is None:
        server, profile = given.server, given.profile
    # Only these lead to another folder than the one that is looked at anyway.
    data = given.settings().data if given.data is not None or given.config is not None else None
    return AsyncClient(server, profile=profile, data=data, retries=RETRIES)


def as_json(value: BaseModel) -> Any:
    """Return an answer as JSON-ready values."""
    return value.model_dump(mode="json")


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
