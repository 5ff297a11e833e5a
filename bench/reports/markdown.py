"""The report as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.languages.findings import language_tables
from bench.reports.markdown_table import cell, markdown_table
from emberbox.bench.report import facts, keep_json, tables
from emberbox.files.atomic import write_file

if TYPE_CHECKING:
    from pathlib import Path

    from bench.findings import Compared
    from emberbox.bench.statistics import Series

TURNS = (
    "a to e and i are taken in turns, one sample of each a round, in rotating order; so are the three of k"
)


def markdown(findings: Compared) -> str:
    """Return the report as Markdown."""
    lines = ["# Benchmark", "", *(f"- {name}: {cell(value)}" for name, value in facts(findings))]
    for table in tables(findings, language_tables(findings.languages)):
        lines += ["", f"## {table.title}", "", *markdown_table(table.columns, table.rows, table.left)]
    if findings.skipped:
        reasons = (f"- {name}: {cell(reason)}" for name, reason in findings.skipped.items())
        lines += ["", "## Not measured", "", *reasons]
    notes = [f"- {series.label}: {cell(series.note)}" for series in _noted(findings) if series.note]
    if notes:
        lines += ["", "## How", "", f"- {TURNS}", *notes]
    return "\n".join(lines) + "\n"


def _noted(findings: Compared) -> list[Series]:
    service, stream = findings.service.service, findings.service.stream
    return [*findings.latencies, *(service.rows if service else ()), *(stream.rows if stream else ())]


def write_report(findings: Compared, folder: Path) -> None:
    """Write latest.json and latest.md, each put in place at once. Raises `OSError`."""
    keep_json(findings, folder)
    write_file(folder / "latest.md", markdown(findings), mode=None)
