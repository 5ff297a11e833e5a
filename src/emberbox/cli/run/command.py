"""How `emberbox run` is explained and completed, and what reads its unusual command lines."""

from __future__ import annotations

from typing import Annotated, Any

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import exit_codes, options
from emberbox.cli.commands import ARGS, argument, takes
from emberbox.cli.run.options import RunLine

_FILE = argument("FILE", "The script; '-' reads standard input.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=exit_codes.RUN_EPILOG)(run)


@takes(*options.RUN)
def run(
    ctx: typer.Context,
    file: Annotated[str | None, _FILE] = None,
    args: Annotated[list[str] | None, ARGS] = None,
    **given: Any,
) -> int:
    """Run a script in a microVM of its own, and throw the VM away.

    Output comes as it is written, unchanged; the exit code is the program's. Standard input is
    passed on unless it is a terminal. Options --env and --file may be repeated.
    """
    from emberbox.cli.run.run import execute

    return execute(ctx.obj, RunLine.of([*([] if file is None else [file]), *(args or [])], given))
