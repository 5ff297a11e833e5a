"""`emberbox doctor`: what this machine has, what it lacks, and what mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import exit_codes
from emberbox.cli.tables import print_json, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from emberbox.doctor import Finding

_STYLES = {"ok": "green", "warning": "yellow", "missing": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Look at what this machine has and lacks, and tell what mends it. Exits with 1 when something is missing."""
    from emberbox.cli.interrupts import run_interruptible
    from emberbox.doctor import diagnose

    settings = ctx.obj.settings()
    found: list[Finding] = []

    async def work() -> int:
        found.extend(await diagnose(settings))
        return exit_codes.OK

    code = run_interruptible(work)
    if code != exit_codes.OK:
        return code
    missing = any(finding.level == "missing" for finding in found)
    if json:
        print_json({"ok": not missing, "data": str(settings.data), "findings": [asdict(finding) for finding in found]})
    else:
        print_findings(found)
    return exit_codes.FINDINGS if missing else exit_codes.OK


def print_findings(found: Sequence[Finding]) -> None:
    """Print findings for people, and what they come to."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), Text(finding.title), _explained(finding))
    show(table, "", _verdict(found))


def _explained(finding: Finding) -> RenderableType:
    from rich.text import Text

    from emberbox.cli.failures import printable

    text = Text(printable(finding.found))
    if finding.follows:
        text.append(f"\n{printable(finding.follows)}", style="dim")
    if finding.mend:
        text.append(f"\n$ {printable(finding.mend)}", style="bold")
    return text


def _verdict(found: Sequence[Finding]) -> str:
    missing = sum(finding.level == "missing" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    if missing:
        return f"{missing} missing, {warnings} to look at. Mend what is missing, or let this try: emberbox setup"
    return f"Ready to run programs; {warnings} to look at." if warnings else "Ready to run programs."
