"""`emberbox bench`: measures this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emberbox.cli.commands import takes
from emberbox.cli.options import JSON


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


@takes(JSON)
def bench(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Measure only this; may be repeated.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="Keep the JSON there, as latest.json.")
    ] = None,
    *,
    json: bool,
) -> int:
    """Measure how fast VMs start, clone and run programs here."""
    from emberbox.bench import run
    from emberbox.bench.options import BenchOptions

    options = BenchOptions(quick=quick, only=tuple(only or ()), settings=ctx.obj.settings())
    return run(options, json=json, output=None if output is None else Path(output))
