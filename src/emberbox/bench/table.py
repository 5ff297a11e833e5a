"""Tables without a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emberbox.bench.statistics import Series

_NUMBERS = ("median", "p95", "p99", "min", "max", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table without a look: the first `left` columns hold text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: int = 1


def latencies(title: str, series: Iterable[tuple[str, Series]]) -> Table:
    """Return a table of series in milliseconds, each with its letter; those without a sample are left out."""
    rows = []
    for letter, one in series:
        if (summary := one.summary) is None:
            continue
        figures = (summary.median, summary.p95, summary.p99, summary.minimum, summary.maximum)
        label = f"{one.label} — {len(one.failures)} failed" if one.failures else one.label
        rows.append((letter, label, *(milliseconds(figure) for figure in figures), str(summary.n)))
    return Table(title=title, columns=("", "what", *_NUMBERS), rows=rows, left=2)


def milliseconds(value: float) -> str:
    """Return a figure with as many digits as are worth reading."""
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def failures_row(failures: Sequence[str]) -> list[tuple[str, str]]:
    """Return a row with the number of failures and the first of them; none without."""
    return [(f"   failed, the first: {failures[0]}", str(len(failures)))] if failures else []
