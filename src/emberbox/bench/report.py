"""Turns findings into tables, and prints these on a terminal."""

from __future__ import annotations

import sys
from json import dumps
from typing import TYPE_CHECKING

from emberbox.bench.service.report import service_tables
from emberbox.bench.statistics import Summary, percentile
from emberbox.bench.table import Table, failures_row, latencies
from emberbox.files.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from emberbox.bench.findings import Findings
    from emberbox.bench.samplers.burst import Burst
    from emberbox.bench.samplers.memory import MemoryUse
    from emberbox.bench.samplers.throughput import Throughput
    from emberbox.bench.statistics import Series
    from emberbox.bench.targets import Target

PLAIN_WIDTH = 160
"""Columns where standard output is no terminal."""


def tables(findings: Findings, more: Sequence[Table] = ()) -> list[Table]:
    """Return all tables, in the order in which they are read; those without rows are left out.

    Args:
        findings: What was measured.
        more: Further tables, which come before the targets.
    """
    every = [
        _latencies("Python hello world, ms", findings, findings.latencies),
        Table(
            title="Compared (medians)",
            columns=("", "value"),
            rows=[
                (name, "—" if value is None else f"{value:.3g}" if value < 10 else f"{value:.0f}")
                for name, value in findings.ratios.items()
            ]
            if findings.latencies
            else [],
        ),
        Table(title="All of the host", columns=("", "value"), rows=_whole_host(findings)),
        _latencies("Inside one clone, ms: as the engine tells it", findings, findings.engine_parts),
        _latencies("Inside one clone, ms: step after step", findings, findings.steps),
        *service_tables(findings.service),
        *more,
        Table(
            title="Targets",
            columns=("", "measured", "wanted", ""),
            rows=[_target(one) for one in findings.targets],
        ),
    ]
    return [table for table in every if table.rows]


def _latencies(title: str, findings: Findings, series: Sequence[Series]) -> Table:
    return latencies(title, [(findings.letters.get(one.name, ""), one) for one in series])


def _whole_host(findings: Findings) -> list[tuple[str, str]]:
    names = {"interpreter_ms": "i  start of a bare interpreter", "imports_ms": "   imports of emberbox run"}
    return [
        *(_throughput(findings.throughput) if findings.throughput is not None else ()),
        *(_memory(findings.memory) if findings.memory is not None else ()),
        *(_burst(findings.burst) if findings.burst is not None else ()),
        *((names.get(name, name), f"{value:.0f} ms") for name, value in findings.start_up.items()),
    ]


def _throughput(rate: Throughput) -> list[tuple[str, str]]:
    windows = f"{len(rate.windows)} windows of {rate.window_s:g} s"
    spread = f"{min(rate.windows):.1f}–{max(rate.windows):.1f} in {windows}"
    told = f"{rate.median:.1f} ({spread}, {rate.concurrency} at once)"
    return [("f  VMs a second, each cloned, used once and ended", told), *failures_row(rate.failures)]


def _memory(use: MemoryUse) -> list[tuple[str, str]]:
    rows = [(f"g  memory of an idle sandbox, PSS ({len(use.pss)} of them)", _mib(use.pss))]
    if use.used_pss:
        rows.append(("   after it ran a program", _mib(use.used_pss)))
    rows.append(("   private dirty", f"{percentile(use.private_dirty, 50):.1f} MiB"))
    return rows + [
        (f"     {kind}", f"{size:.1f} MiB") for kind, size in use.dirty_kinds.items() if size >= 0.05
    ]


def _mib(sizes: Sequence[float]) -> str:
    return f"{percentile(sizes, 50):.1f} MiB (largest {max(sizes):.1f})"


def _burst(burst: Burst) -> list[tuple[str, str]]:
    rows = [(f"h  answered of {burst.requests} at once, from an empty pool", str(len(burst.latencies)))]
    if burst.latencies:
        summary = Summary.of(burst.latencies)
        told = f"p50 {summary.median:.0f}, p99 {summary.p99:.0f}, max {summary.maximum:.0f} ms"
        rows.append(("   their latency", told))
    return rows + failures_row(burst.failures)


def _target(target: Target) -> tuple[str, ...]:
    wanted = f"{'≥' if target.at_least else '≤'} {target.bound:g} {target.unit}".strip()
    if target.measured is None:
        return target.name, "—", wanted, "not measured"
    measured = f"{target.measured:.3g} {target.unit}".strip()
    return target.name, measured, wanted, "met" if target.met else "NOT MET"


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Return what describes the run, as pairs."""
    host = findings.host
    return [
        (
            "taken",
            f"{findings.taken_at}, {findings.duration_s:.0f} s" + (", quick" if findings.quick else ""),
        ),
        ("host", f"{host.cpu}, {host.cores} cores, {host.memory_mib} MiB, Linux {host.kernel}"),
        ("load before", ", ".join(f"{load:.2f}" for load in host.load_average)),
        ("accelerator", f"{host.accelerator or 'none'}: {host.accelerator_reason}"),
        ("versions", f"Emberbox {host.emberbox}, Python {host.python}, {host.vmm or 'no VMM'}"),
    ]


def print_report(findings: Findings, console: Console, more: Sequence[Table] = ()) -> None:
    """Print all tables on a terminal; `more` as in `tables`."""
    from rich.table import Table as RichTable

    for name, value in facts(findings):
        console.print(f"{name:12} {value}")
    for table in tables(findings, more):
        rich = RichTable(
            title=table.title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
        )
        for number, column in enumerate(table.columns):
            rich.add_column(column, justify="left" if number < table.left else "right", overflow="fold")
        for row in table.rows:
            rich.add_row(*row)
        console.print()
        console.print(rich)
    for name, reason in findings.skipped.items():
        console.print(f"not measured: {name}: {reason}")


def progress(*, json: bool) -> Callable[[str], None]:
    """Return what takes a line of progress: standard error, or nobody where JSON is printed."""

    def say(line: str) -> None:
        if not json:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    return say


def print_findings(findings: Findings, *, json: bool, more: Sequence[Table] = ()) -> None:
    """Print JSON, or all tables; `more` as in `tables`."""
    from rich.console import Console

    if json:
        sys.stdout.write(dumps(findings.to_dict(), indent=2) + "\n")
    else:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        print_report(findings, Console(markup=False, highlight=False, emoji=False, width=width), more)


def keep_json(findings: Findings, folder: Path) -> None:
    """Write latest.json, put in place at once. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "latest.json", dumps(findings.to_dict(), indent=1) + "\n", mode=None)
