"""`emberbox bench`: measures this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli.commands import option, takes
from emberbox.cli.options import JSON


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


@takes(JSON)
def bench(
    ctx: typer.Context,
    quick: Annotated[bool, option("--quick", "Fewer repetitions.")] = False,
    only: Annotated[list[str] | None, option("--only", "Measure only this; may be repeated.", "NAME")] = None,
    output: Annotated[str | None, option("--output", "Keep the JSON there, as latest.json.", "DIR")] = None,
    *,
    json: bool,
) -> int:
    """Measure how fast VMs start, clone and run programs here."""
    from emberbox.bench import run
    from emberbox.bench.options import BenchOptions

    options = BenchOptions(quick=quick, only=tuple(only or ()), settings=ctx.obj.settings())
    return run(options, json=json, output=None if output is None else Path(output))
