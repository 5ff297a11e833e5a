"""Turns findings into tables: for a terminal, and as Markdown."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.bench.targets import ratios

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from emberbox.bench.findings import Findings
    from emberbox.bench.statistics import Series

LETTERS = {
    "cold": "a", "clone": "b", "pool": "c", "gvisor": "d", "gvisor_lean": "d", "bubblewrap": "e", "process": "e",
    "throughput": "f", "memory": "g", "burst": "h", "command": "i", "breakdown": "j",
}  # fmt: skip
_NUMBERS = ("median", "p95", "p99", "min", "max", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table without a look: the first `left` columns hold text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: int = 1


def tables(findings: Findings) -> list[Table]:
    """Return all tables, in the order in which they are read; those without rows are left out."""
    every = [
        _latencies("Python hello world, ms", findings.latencies),
        Table(title="Compared (medians)", columns=("", "value"), rows=[
            (name, "—" if value is None else f"{value:.3g}" if value < 10 else f"{value:.0f}")
            for name, value in ratios(findings.medians).items()
        ] if findings.latencies else []),
        Table(title="All of the host", columns=("", "value"), rows=_whole_host(findings)),
        _latencies("Inside one clone, ms: as the engine tells it", findings.engine_parts),
        _latencies("Inside one clone, ms: step after step", findings.steps),
        Table(title="Targets", columns=("", "measured", "wanted", ""), rows=_targets(findings)),
    ]  # fmt: skip
    return [table for table in every if table.rows]


def _latencies(title: str, series: Sequence[Series]) -> Table:
    rows = []
    for one in series:
        if (summary := one.summary) is None:
            continue
        figures = (summary.median, summary.p95, summary.p99, summary.minimum, summary.maximum)
        label = f"{one.label} — {len(one.failures)} failed" if one.failures else one.label
        rows.append((LETTERS.get(one.name, ""), label, *(_milliseconds(figure) for figure in figures), str(summary.n)))
    return Table(title=title, columns=("", "what", *_NUMBERS), rows=rows, left=2)


def _whole_host(findings: Findings) -> list[tuple[str, str]]:
    rows = []
    if (rate := findings.throughput) is not None:
        spread = f"{min(rate.windows):.1f}–{max(rate.windows):.1f} in {len(rate.windows)} windows of {rate.window_s:g} s"
        rows.append(
            ("f  VMs a second, each cloned, used once and ended", f"{rate.median:.1f} ({spread}, {rate.concurrency} at once)")
        )
        rows += _failures(rate.failures)
    if (use := findings.memory) is not None:
        rows.append((
            f"g  memory of an idle sandbox, PSS ({len(use.pss)} of them)",
            f"{_median(use.pss):.1f} MiB (largest {max(use.pss):.1f})",
        ))  # fmt: skip
        if use.used_pss:
            rows.append(("   after it ran a program", f"{_median(use.used_pss):.1f} MiB (largest {max(use.used_pss):.1f})"))
        rows.append(("   private dirty", f"{_median(use.private_dirty):.1f} MiB"))
        rows += [(f"     {kind}", f"{size:.1f} MiB") for kind, size in use.dirty_kinds.items() if size >= 0.05]
    if (burst := findings.burst) is not None:
        figures = burst.to_dict()
        rows.append((f"h  answered of {burst.requests} at once, from an empty pool", str(len(burst.latencies))))
        if burst.latencies:
            rows.append(
                ("   their latency", f"p50 {figures['median']:.0f}, p99 {figures['p99']:.0f}, max {figures['maximum']:.0f} ms")
            )
        rows += _failures(burst.failures)
    names = {"interpreter_ms": "i  start of a bare interpreter", "imports_ms": "   imports of emberbox run"}
    rows += [(names.get(name, name), f"{value:.0f} ms") for name, value in findings.start_up.items()]
    return rows


def _failures(failures: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"   failed, the first: {failures[0]}", str(len(failures)))] if failures else []


def _targets(findings: Findings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for target in findings.targets:
        sign = "≥" if target.at_least else "≤"
        if target.met is None:
            rows.append((target.name, "—", f"{sign} {target.bound:g} {target.unit}".strip(), "not measured"))
        else:
            measured = f"{target.measured:.3g} {target.unit}".strip()
            rows.append(
                (target.name, measured, f"{sign} {target.bound:g} {target.unit}".strip(), "met" if target.met else "NOT MET")
            )
    return rows


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Return what describes the run, as pairs."""
    host = findings.host
    return [
        ("taken", f"{findings.taken_at}, {findings.duration_s:.0f} s" + (", quick" if findings.quick else "")),
        ("host", f"{host.cpu}, {host.cores} cores, {host.memory_mib} MiB, Linux {host.kernel}"),
        ("load before", ", ".join(f"{load:.2f}" for load in host.load_average)),
        ("accelerator", f"{host.accelerator or 'none'}: {host.accelerator_reason}"),
        ("versions", f"Emberbox {host.emberbox}, Python {host.python}, {host.vmm or 'no VMM'}"),
    ]


def print_report(findings: Findings, console: Console) -> None:
    """Print all tables on a terminal."""
    from rich.table import Table as RichTable

    for name, value in facts(findings):
        console.print(f"{name:12} {value}")
    for table in tables(findings):
        rich = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for number, column in enumerate(table.columns):
            rich.add_column(column, justify="left" if number < table.left else "right", overflow="fold")
        for row in table.rows:
            rich.add_row(*row)
        console.print()
        console.print(rich)
    for name, reason in findings.skipped.items():
        console.print(f"not measured: {name}: {reason}")


def markdown(findings: Findings) -> str:
    """Return the report as Markdown."""
    lines = ["# Benchmark", "", *(f"- {name}: {_cell(value)}" for name, value in facts(findings))]
    for table in tables(findings):
        ruler = ["---" if number < table.left else "---:" for number in range(len(table.columns))]
        lines += ["", f"## {table.title}", "", _line(table.columns), _line(ruler), *(_line(row) for row in table.rows)]
    if findings.skipped:
        lines += ["", "## Not measured", "", *(f"- {name}: {_cell(reason)}" for name, reason in findings.skipped.items())]
    notes = [f"- {series.label}: {_cell(series.note)}" for series in findings.latencies if series.note]
    if notes:
        lines += ["", "## How", "", "- all of these are taken in turns, one sample of each a round, in rotating order", *notes]
    return "\n".join(lines) + "\n"


def write(findings: Findings, folder: Path) -> None:
    """Write latest.json and latest.md, each put in place at once. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"latest.json": json.dumps(findings.to_dict(), indent=1) + "\n", "latest.md": markdown(findings)}
    for name, text in texts.items():
        partial = folder / f"{name}.new-{os.getpid()}"
        partial.write_text(text, "utf-8")
        partial.replace(folder / name)


def _median(values: Sequence[float]) -> float:
    from emberbox.bench.statistics import percentile

    return percentile(values, 50)


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell.strip()) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
