"""`emberbox runtimes table`: the page about all languages, from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RESULTS = "bench/results/languages.json"


def table(
    results: Annotated[
        str, typer.Option("--results", metavar="FILE", help="What `emberbox bench --only languages` wrote.")
    ] = RESULTS,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Where the page goes; left out, standard output.")
    ] = None,
) -> None:
    """Write the table of languages as Markdown. Measures nothing: see `emberbox bench --only languages`."""
    from emberbox.languages.results import read_results
    from emberbox.languages.table import page

    text = page(read_results(Path(results)))
    if output is None:
        typer.echo(text, nl=False)
    else:
        Path(output).write_text(text, "utf-8")
