"""What Emberbox wants to reach, held against what was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from emberbox.bench.statistics import rounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.bench.samplers.burst import Burst
    from emberbox.bench.samplers.memory import MemoryUse
    from emberbox.bench.samplers.throughput import Throughput

CLONE_TO_COLD = 0.1
POOL_MS = 15.0
VMS_PER_SECOND = 13.0
MEMORY_MIB = 40.0
COMMAND_OVER_CLONE_MS = 250.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to reach.

    Args:
        name: For people.
        measured: None when it was not measured.
        bound: What is wanted.
        unit: Of both; empty for a ratio.
        at_least: True when more is better.
    """

    name: str
    measured: float | None
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "measured": rounded(self.measured, 4), "met": self.met}


def ratios(medians: Mapping[str, float]) -> dict[str, float | None]:
    """Compare medians: name → quotient, or difference in milliseconds; None where one was not measured."""
    clone, cold, command = (medians.get(name) for name in ("clone", "cold", "command"))
    return {
        "clone / cold boot (b/a)": quotient(clone, cold),
        "command − clone, ms (i−b)": None if command is None or clone is None else command - clone,
    }


def targets(
    medians: Mapping[str, float], throughput: Throughput | None, memory: MemoryUse | None, burst: Burst | None
) -> list[Target]:
    """Hold the targets against what was measured."""
    clone_to_cold, command_over_clone = ratios(medians).values()
    return [
        Target(name="b: clone ÷ cold boot", measured=clone_to_cold, bound=CLONE_TO_COLD),
        Target(name="c: pool, median", measured=medians.get("pool"), bound=POOL_MS, unit="ms"),
        Target(
            name="f: throughput, median window",
            measured=None if throughput is None else throughput.median,
            bound=VMS_PER_SECOND,
            unit="VMs/s",
            at_least=True,
        ),
        Target(
            name="g: memory of the largest idle sandbox",
            measured=None if memory is None else max(memory.pss),
            bound=MEMORY_MIB,
            unit="MiB",
        ),
        Target(
            name="h: answered of those asked at once",
            measured=None if burst is None else len(burst.latencies),
            bound=50 if burst is None else burst.requests,
            unit="runs",
            at_least=True,
        ),
        Target(
            name="i: command − clone", measured=command_over_clone, bound=COMMAND_OVER_CLONE_MS, unit="ms"
        ),
    ]


def quotient(above: float | None, below: float | None) -> float | None:
    """Return a quotient; None where one of the two was not measured."""
    return None if above is None or not below else above / below
