"""What was found about languages, its targets and its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.languages.table import COLUMNS, table_row
from emberbox.bench.table import Table
from emberbox.bench.targets import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

POOLED_MS = 60.0
DISK_MIB = 4096.0


@dataclass(slots=True, kw_only=True)
class LanguageFindings:
    """Letter q.

    Attributes:
        rows: One for each language, as `bench.languages.measuring` gives them.
        disk: What all images take.
        known: Names of all runtimes, measured or not.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    disk: dict[str, int] | None = None
    known: tuple[str, ...] = ()

    @property
    def targets(self) -> list[Target]:
        """The languages' targets, held against this; none when no language was measured."""
        if not self.rows:
            return []
        slowest = max((row for row in self.rows if row["kind"] != "compiled"), key=_pooled, default=None)
        behind = "" if slowest is None else f" ({slowest['name']})"
        return [
            Target(
                name=f"q: slowest interpreter, pooled, median{behind}",
                measured=None if slowest is None else _pooled(slowest),
                bound=POOLED_MS,
                unit="ms",
            ),
            self._slower("pooled_ms", "pooled"),
            self._slower("clone_ms", "cloned"),
            Target(
                name="q: disk of all images",
                measured=None if self.disk is None else self.disk["bytes"] / 2**20,
                bound=DISK_MIB,
                unit="MiB",
            ),
        ]

    def _slower(self, field_name: str, label: str) -> Target:
        compared = [row for row in self.rows if row["gvisor_ms"] and row[field_name]]
        slower = [row["name"] for row in compared if row[field_name]["p50"] > row["gvisor_ms"]["p50"]]
        named = f": {', '.join(slower)}" if slower else ""
        return Target(
            name=f"q: languages slower than runsc, {label}{named}",
            measured=len(slower) if compared else None,
            bound=0,
            unit=f"of {len(compared)}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"languages": self.rows, "disk": self.disk}


def language_tables(findings: LanguageFindings | None) -> Sequence[Table]:
    """Return the table of languages; none when they were not measured."""
    if findings is None:
        return []
    rows = [table_row(row) for row in sorted(findings.rows, key=lambda row: str(row["name"]))]
    return [Table(title="q  Languages, hello, world: p50 / p95", columns=COLUMNS, rows=rows, left=3)]


def _pooled(row: dict[str, Any]) -> float:
    return float(row["pooled_ms"]["p50"]) if row["pooled_ms"] else 0.0
