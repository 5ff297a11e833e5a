"""The table of attacks in SECURITY.md, and the report of one run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.attack.rows import GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.attack.rows import Row
    from tests.attack.verdicts import Judged, Outcome

BEGIN = "<!-- attacks: written by make attack -->"
END = "<!-- /attacks -->"
NEVER = "not tried yet"
_HEAD = "| attack | what is tried | what is to hold | result | without the defence |\n|---|---|---|---|---|\n"


def table(groups: Mapping[str, Sequence[Row]], results: Mapping[str, str]) -> str:
    """Return the tables of all groups.

    Args:
        groups: The rows by group.
        results: The verdict of each row by its name; rows without one were never tried.
    """
    parts = []
    for group, rows in groups.items():
        lines = [
            f"| {row.name} | {row.tried} | {row.holds} | {results.get(row.name, NEVER)} "
            f"| {'it succeeds' if row.control else '-'} |\n"
            for row in rows
        ]
        parts.append(f"**{GROUPS[group]}**\n\n{_HEAD}{''.join(lines)}")
    return "\n".join(parts)


def with_table(page: str, text: str) -> str:
    """Return a page with `text` between its two marks. Raises `ValueError` where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def results_in(page: str) -> dict[str, str]:
    """Return the verdicts that a page has, by the names of rows."""
    text = page.partition(BEGIN)[2].partition(END)[0]
    rows = re.findall(r"^\| (.+?) \| .+? \| .+? \| (.+?) \| .+? \|$", text, flags=re.MULTILINE)
    return {name: result for name, result in rows if name != "attack"}


def report(judged: Mapping[str, Sequence[Judged]], about: Mapping[str, str]) -> str:
    """Return the report of a run: each row with its tests, their times and figures.

    Args:
        judged: By group.
        about: What the run was on and when, by name.
    """
    lines = ["# Attacks", "", *(f"- {name}: {value}" for name, value in about.items())]
    for group, rows in judged.items():
        lines += ["", f"## {GROUPS[group]}"]
        for one in rows:
            lines += ["", f"### {one.row.name}: {one.verdict.value.strip('*')}", ""]
            lines += [f"Tried: {one.row.tried}. To hold: {one.row.holds}.", ""]
            lines += [_line(outcome, "") for outcome in one.tests]
            lines += [_line(outcome, "without the defence, ") for outcome in one.control]
    return "\n".join(lines) + "\n"


def _line(outcome: Outcome, kind: str) -> str:
    figures = "".join(f", {name} {value}" for name, value in outcome.figures.items())
    told = f": {outcome.told.splitlines()[-1]}" if outcome.told else ""
    return f"- {kind}`{outcome.test}` {outcome.outcome} in {outcome.seconds:.1f} s{figures}{told}"
