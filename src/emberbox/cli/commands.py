"""How commands are put together: their options from the table, and groups of them."""

from __future__ import annotations

import inspect
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emberbox.cli.options import Option

_C = TypeVar("_C", bound="Callable[..., Any]")


def option(names: str, text: str, metavar: str | None = None, **more: Any) -> Any:
    """Return an option of one command alone: how it is written, separated by blanks, and what it is for."""
    return typer.Option(*names.split(), help=text, metavar=metavar, **more)


def argument(metavar: str, text: str, **more: Any) -> Any:
    """Return an argument of a command: what stands for it in the help, and what it is."""
    return typer.Argument(metavar=metavar, help=text, **{"show_default": False, **more})


ARGS = argument("[--] ARGS...", "Its arguments.")
"""The arguments of a script, behind it."""


def takes(*options: Option) -> Callable[[_C], _C]:
    """Give a command options of the table, in this order, behind its arguments.

    The function takes them as keywords, by name or in its `**`. What it says of them is not looked at.
    """
    return lambda command: with_parameters(command, [*arguments(command), *map(parameter, options)])


def arguments(command: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return what a command takes besides options of the table: all that is no keyword alone."""
    found = inspect.signature(command, eval_str=True).parameters.values()
    return [one for one in found if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


def parameter(option: Option) -> inspect.Parameter:
    """Return an option as Typer takes it; one that is not given is None, or False for a switch."""
    told: Any = typer.Option(
        *option.names.split(),
        metavar=option.metavar,
        help=option.help,
        autocompletion=option.complete,
    )
    kind: Any = GenericAlias(list, (option.kind,)) if option.many else option.kind
    if option.kind is not bool:
        kind |= None
    return inspect.Parameter(
        option.field,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if option.kind is bool else None,
        annotation=Annotated[kind, told],
    )


def with_parameters(command: _C, parameters: Iterable[inspect.Parameter]) -> _C:
    """Return a command that Typer sees with these parameters and no others."""
    seen: Any = command
    seen.__signature__ = inspect.Signature(list(parameters))
    seen.__annotations__ = {}
    return command


def group(
    app: typer.Typer,
    name: str,
    text: str,
    *commands: Callable[..., Any],
    default: Callable[..., Any] | None = None,
) -> typer.Typer:
    """Add a command with commands of its own, and return it.

    Args:
        app: What it is added to.
        name: Its word.
        text: Its help.
        commands: The function of each, named as its word; `list_` stands for `list`.
        default: What is called without one of them; None shows the help.
    """
    made = typer.Typer(help=text, no_args_is_help=default is None, rich_markup_mode=None)
    if default is not None:
        made.callback(invoke_without_command=True)(default)
    for command in commands:
        made.command(command.__name__.rstrip("_"))(command)
    app.add_typer(made, name=name)
    return made
