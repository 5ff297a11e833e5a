"""`emberbox runtimes check`: builds languages, runs their examples, and says what is wrong."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import context, exit_codes
from emberbox.cli.commands import argument, option, takes
from emberbox.cli.context import runtime_names
from emberbox.cli.failures import printable, write_line
from emberbox.cli.options import JSON
from emberbox.cli.tables import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.config import Settings
    from emberbox.languages.checking import LanguageReport
    from emberbox.languages.verdict import Check

EPILOG = """\b
Exit codes:
  0      all is right
  1      something is wrong; each line says what to do

\b
Examples:
  emberbox runtimes check ruby
  emberbox runtimes check --folder ~/my-runtimes/forth
  emberbox runtimes check --all --quick
"""
_MARKS = {"ok": "ok", "wrong": "WRONG", "skipped": "-"}
_STYLES = {"ok": "green", "wrong": "red", "skipped": None}


@takes(JSON)
def check(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, argument("[NAME...]", "Names or aliases.", autocompletion=runtime_names)
    ] = None,
    everything: Annotated[bool, option("--all", "Check all there are.")] = False,
    quick: Annotated[
        bool, option("--quick", "Fewer clones and samples; compilers are not driven mad.")
    ] = False,
    folder: Annotated[
        str | None, option("--folder", "Folder of a runtime of yours, or of several.", "PATH")
    ] = None,
    *,
    json: bool,
) -> int:
    """Build languages, run their examples, tell clones apart, feed them bad input; say what is wrong."""
    from emberbox.cli.interrupts import run_interruptible
    from emberbox.errors import InvalidInput
    from emberbox.languages.folders import with_folder

    settings: Settings = ctx.obj.settings()
    chosen = list(names or ())
    with ExitStack() as stack:
        if folder is not None:
            settings, found = stack.enter_context(with_folder(settings, Path(folder)))
            chosen = chosen or list(found)
        if everything:
            chosen = list(context.catalog(settings).names)
        if not chosen:
            raise InvalidInput(
                "name what to check, or --all; there is: " + ", ".join(context.catalog(settings).names)
            )
        reports = run_interruptible(lambda: _check_all(settings, chosen, quick=quick, json=json))
    good = all(report.ok for report in reports)
    if json:
        print_json({"ok": good, "runtimes": [report.to_dict() for report in reports]})
    else:
        typer.echo(conclusion(reports))
    return exit_codes.OK if good else exit_codes.FINDINGS


async def _check_all(
    settings: Settings, names: Sequence[str], *, quick: bool, json: bool
) -> list[LanguageReport]:
    from emberbox.cli.progress import ShownProgress
    from emberbox.languages.checking import RuntimeCheck, plain_engine

    reports = []
    async with plain_engine(settings) as engine:
        for name in names:
            runtime = engine.runtimes.get(name)
            if not json:
                typer.echo(f"{runtime.name} {runtime.version}")
            news = partial(ShownProgress, runtime.name, after_s=2.0)
            checking = RuntimeCheck(
                engine, runtime, quick=quick, progress=news, say=_say_wrong if json else print_check
            )
            reports.append(await checking.run())
    return reports


def _say_wrong(check: Check) -> None:
    if check.level == "wrong":
        write_line(printable(f"{check.name}: {check.found}"))


def print_check(check: Check) -> None:
    """Print one check for people."""
    name = check.name if len(check.name) <= 30 else f"{check.name[:29]}…"
    style = _STYLES[check.level]
    mark = typer.style(f"{_MARKS[check.level]:<5}", fg=style, bold=check.level == "wrong")
    typer.echo(f"  {mark}  {name:<30}  {printable(check.found)}")
    if check.mend is not None:
        typer.echo(f"  {'':5}  {'':30}  to mend it: {printable(check.mend)}")


def conclusion(reports: Sequence[LanguageReport]) -> str:
    """Return what the reports come to."""
    wrong = [report for report in reports if not report.ok]
    if not wrong:
        return f"{len(reports)} checked, nothing wrong." if len(reports) != 1 else "Nothing wrong."
    findings = sum(len(report.wrong) for report in wrong)
    return f"{findings} wrong in {', '.join(report.runtime.name for report in wrong)}."
