"""Turns findings into tables: for a terminal, and as Markdown."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from emberbox.bench.languages_findings import language_tables
from emberbox.bench.service_report import service_tables
from emberbox.bench.table import Table, failures_row, latencies
from emberbox.bench.targets import ratios
from emberbox.languages.results import FILE, write_results

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
TURNS = "a to e and i are taken in turns, one sample of each a round, in rotating order; so are the three of k"


def tables(findings: Findings) -> list[Table]:
    """Return all tables, in the order in which they are read; those without rows are left out."""
    every = [
        latencies("Python hello world, ms", _lettered(findings.latencies)),
        Table(title="Compared (medians)", columns=("", "value"), rows=[
            (name, "—" if value is None else f"{value:.3g}" if value < 10 else f"{value:.0f}")
            for name, value in ratios(findings.medians).items()
        ] if findings.latencies else []),
        Table(title="All of the host", columns=("", "value"), rows=_whole_host(findings)),
        latencies("Inside one clone, ms: as the engine tells it", _lettered(findings.engine_parts)),
        latencies("Inside one clone, ms: step after step", _lettered(findings.steps)),
        *service_tables(findings.service),
        *language_tables(findings.languages),
        Table(title="Targets", columns=("", "measured", "wanted", ""), rows=_targets(findings)),
    ]  # fmt: skip
    return [table for table in every if table.rows]


def _lettered(series: Sequence[Series]) -> list[tuple[str, Series]]:
    return [(LETTERS.get(one.name, ""), one) for one in series]


def _whole_host(findings: Findings) -> list[tuple[str, str]]:
    rows = []
    if (rate := findings.throughput) is not None:
        spread = f"{min(rate.windows):.1f}–{max(rate.windows):.1f} in {len(rate.windows)} windows of {rate.window_s:g} s"
        rows.append(
            ("f  VMs a second, each cloned, used once and ended", f"{rate.median:.1f} ({spread}, {rate.concurrency} at once)")
        )
        rows += failures_row(rate.failures)
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
        rows += failures_row(burst.failures)
    names = {"interpreter_ms": "i  start of a bare interpreter", "imports_ms": "   imports of emberbox run"}
    rows += [(names.get(name, name), f"{value:.0f} ms") for name, value in findings.start_up.items()]
    return rows


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
    notes = [f"- {series.label}: {_cell(series.note)}" for series in _noted(findings) if series.note]
    if notes:
        lines += ["", "## How", "", f"- {TURNS}", *notes]
    return "\n".join(lines) + "\n"


def _noted(findings: Findings) -> list[Series]:
    service, stream = findings.service.service, findings.service.stream
    return [*findings.latencies, *(service.rows if service else ()), *(stream.rows if stream else ())]


def write(findings: Findings, folder: Path) -> None:
    """Write latest.json and latest.md, each put in place at once. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"latest.json": json.dumps(findings.to_dict(), indent=1) + "\n", "latest.md": markdown(findings)}
    for name, text in texts.items():
        partial = folder / f"{name}.new-{os.getpid()}"
        partial.write_text(text, "utf-8")
        partial.replace(folder / name)


def write_languages(findings: Findings, folder: Path) -> None:
    """Write languages.json; languages that were not measured this time keep their rows in it. Raises `OSError`."""
    if findings.languages is None:
        return
    host = asdict(findings.host)
    new = {"taken_at": findings.taken_at, "quick": findings.quick, "host": host, **findings.languages.to_dict()}
    write_results(folder / FILE, new, findings.languages.known)


def _median(values: Sequence[float]) -> float:
    from emberbox.bench.statistics import percentile

    return percentile(values, 50)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell.strip()) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
