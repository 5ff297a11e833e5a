"""All that one benchmark run found, and its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from emberbox.bench.options import MEASUREMENTS
from emberbox.bench.service.findings import ServiceFindings
from emberbox.bench.statistics import rounded
from emberbox.bench.targets import ratios, targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.bench.host import HostFacts
    from emberbox.bench.samplers.burst import Burst
    from emberbox.bench.samplers.memory import MemoryUse
    from emberbox.bench.samplers.throughput import Throughput
    from emberbox.bench.statistics import Series
    from emberbox.bench.targets import Target

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes away; new fields do not raise it."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What was measured.

    Attributes:
        letters: The letter of each series, by the series' name.
        host: The machine.
        taken_at: When it began, ISO 8601 in UTC.
        quick: Whether fewer samples were taken.
        selected: Whether only some of it was asked for; the rest is no finding then.
        duration_s: How long it took in all.
        latencies: Of what was measured in turns.
        skipped: What was not measured, and why, by name.
        throughput, memory, burst: None when not measured.
        engine_parts: Parts of the clone's latency, as the engine tells them.
        steps: The same and more, taken one after another.
        start_up: Parts of the command's start, in milliseconds.
        service: Of the service.
    """

    letters: ClassVar[Mapping[str, str]] = {name: letter for letter, name in MEASUREMENTS.items()}

    host: HostFacts
    taken_at: str
    quick: bool
    selected: bool = False
    duration_s: float = 0.0
    latencies: list[Series] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    throughput: Throughput | None = None
    memory: MemoryUse | None = None
    burst: Burst | None = None
    engine_parts: list[Series] = field(default_factory=list)
    steps: list[Series] = field(default_factory=list)
    start_up: dict[str, float] = field(default_factory=dict)
    service: ServiceFindings = field(default_factory=ServiceFindings)

    @property
    def medians(self) -> dict[str, float]:
        """Medians of the latencies in milliseconds, by name."""
        return {series.name: series.median for series in self.latencies if series.median is not None}

    @property
    def ratios(self) -> dict[str, float | None]:
        """Medians compared, by name; None where one was not measured."""
        return ratios(self.medians)

    @property
    def targets(self) -> list[Target]:
        """The targets, held against this; without those that were not asked for."""
        return [target for target in self._targets() if target.met is not None or not self.selected]

    def _targets(self) -> list[Target]:
        return [*targets(self.medians, self.throughput, self.memory, self.burst), *self.service.targets]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the fields are stable within a `schema`."""
        return {
            "schema": SCHEMA,
            "taken_at": self.taken_at,
            "duration_s": round(self.duration_s, 1),
            "quick": self.quick,
            "host": {**asdict(self.host), "load_average": rounded(list(self.host.load_average), 2)},
            "latencies": {series.name: series.to_dict() for series in self.latencies},
            "ratios": rounded(self.ratios, 4),
            "throughput": self.throughput and self.throughput.to_dict(),
            "memory": self.memory and self.memory.to_dict(),
            "burst": self.burst and self.burst.to_dict(),
            "breakdown": {
                "engine": {series.name: series.to_dict() for series in self.engine_parts},
                "steps": {series.name: series.to_dict() for series in self.steps},
                "start_up": rounded(self.start_up, 1),
            },
            "service": self.service.to_dict(),
            "skipped": self.skipped,
            "targets": [target.to_dict() for target in self.targets],
        }
