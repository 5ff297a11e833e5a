"""`emberbox doctor`: what this machine has, what it lacks, and what mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import exit_codes
from emberbox.cli.commands import option, takes
from emberbox.cli.failures import printable
from emberbox.cli.options import JSON
from emberbox.cli.tables import print_json, show, write_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from emberbox.doctor import Finding

_STYLES = {"ok": "green", "warning": "yellow", "missing": "bold red", "unknown": "yellow", "by_hand": "cyan"}
_EPILOG = """\b
Exit codes:
  0  nothing is missing; with --production: all rows are ok or by hand
  1  something is missing; with --production: a row is a warning or unknown

\b
Examples:
  emberbox doctor               what running programs needs here
  emberbox doctor --production  what to mend before strangers' programs run
  emberbox doctor --production --all
                                the same, with what is fine row by row
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=_EPILOG)(doctor)


@takes(JSON)
def doctor(
    ctx: typer.Context,
    production: Annotated[
        bool, option("--production", "Look at how the host is set up against attacks from inside VMs.")
    ] = False,
    everything: Annotated[bool, option("--all", "With --production: show what is fine as well.")] = False,
    *,
    json: bool,
) -> int:
    """Look at what this machine has and lacks, and tell what mends it.

    Exits with 1 when something is missing.
    """
    from emberbox.cli.interrupts import run_interruptible
    from emberbox.doctor import diagnose, inspect_host

    settings = ctx.obj.settings()
    found = run_interruptible(lambda: (inspect_host if production else diagnose)(settings))
    bad = ("missing", "warning", "unknown") if production else ("missing",)
    good = not any(finding.level in bad for finding in found)
    if json:
        rows = [asdict(finding) for finding in found]
        print_json(
            {
                "ok": good,
                "data": str(settings.data),
                "mend": None if production else whole_mend(found),
                "findings": rows,
            }
        )
    elif production:
        print_findings(found, hardening(found), fold=not everything)
    else:
        print_findings(found, verdict(found))
        print_mend(found)
    return exit_codes.OK if good else exit_codes.FINDINGS


def print_findings(found: Sequence[Finding], conclusion: str, *, fold: bool = False) -> None:
    """Print findings for people, and what they come to.

    Args:
        found: The findings.
        conclusion: What they come to.
        fold: Whether those that are fine are counted instead.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in [finding for finding in found if not fold or finding.level != "ok"]:
        table.add_row(
            Text(finding.level.replace("_", " "), style=_STYLES[finding.level]),
            Text(finding.title),
            _explained(finding),
        )
    fine = sum(finding.level == "ok" for finding in found)
    if fold and fine:
        text = (
            f"{fine} row{' is' if fine == 1 else 's are'} fine: --all shows {'it' if fine == 1 else 'them'}"
        )
        table.add_row(Text("ok", style=_STYLES["ok"]), Text("All the rest"), Text(text))
    show(table, "", conclusion)


def whole_mend(found: Sequence[Finding]) -> str | None:
    """Return the one line that brings all packages and rights that are missing.

    None where none is missing, or programs run without.
    """
    from emberbox.doctor.needs import look_for_needs

    return look_for_needs().mend() if any(finding.level == "missing" for finding in found) else None


def print_mend(found: Sequence[Finding]) -> None:
    """Print that line; nothing where there is none."""
    mend = whole_mend(found)
    if mend is not None:
        # Not folded, however narrow the terminal: it is there to be copied.
        write_out(f"All packages and rights that are missing, in one line:\n$ {printable(mend)}\n")


def _explained(finding: Finding) -> RenderableType:
    from rich.text import Text

    text = Text(printable(finding.found))
    if finding.follows:
        text.append(f"\n{printable(finding.follows)}", style="dim")
    if finding.mend:
        text.append(f"\n$ {printable(finding.mend)}", style="bold")
    return text


def verdict(found: Sequence[Finding]) -> str:
    """Return what the findings about running programs come to."""
    missing = sum(finding.level == "missing" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    if missing:
        return (
            f"{missing} missing, {warnings} to look at. Mend what is missing, or let this try: emberbox setup"
        )
    return f"Ready to run programs; {warnings} to look at." if warnings else "Ready to run programs."


def hardening(found: Sequence[Finding]) -> str:
    """Return what the findings about a production host come to."""
    count = {
        level: sum(finding.level == level for finding in found) for level in ("warning", "unknown", "by_hand")
    }
    by_hand = f"{count['by_hand']} to see by hand"
    if not count["warning"] and not count["unknown"]:
        return f"Set up for strangers' programs, as far as can be seen; {by_hand}."
    warnings = f"{count['warning']} warning{'' if count['warning'] == 1 else 's'}"
    return f"{warnings}, {count['unknown']} could not be seen, {by_hand}. The lines after $ are for root."
