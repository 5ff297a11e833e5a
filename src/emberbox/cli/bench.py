"""`emberbox bench`: measures this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Measure only this; may be repeated.")] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", metavar="NAME", help="Of languages, measure only this; may be repeated.")
    ] = None,
    output: Annotated[str | None, typer.Option("--output", metavar="DIR", help="Where the report is written.")] = None,
) -> int:
    """Measure how fast VMs start, clone and run programs here."""
    from importlib import import_module

    from emberbox.errors import RequirementMissing

    try:
        package: Any = import_module("emberbox.bench")
        run = package.run
    except (ImportError, AttributeError) as error:
        raise RequirementMissing("this installation holds no benchmarks", detail=str(error)) from error
    code = run(
        settings=ctx.obj.settings(),
        json=json,
        quick=quick,
        only=tuple(only or ()),
        languages=tuple(language or ()),
        output=None if output is None else Path(output),
    )
    return code if isinstance(code, int) else 0
