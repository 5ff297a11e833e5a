"""Many programs at once, from a pool with nothing in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from emberbox.bench.samplers.base import HELLO, BenchError, checked, ms_since
from emberbox.bench.statistics import Summary, rounded
from emberbox.config import PoolSettings
from emberbox.errors import EmberboxError
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from emberbox.config import Settings

BOUND_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """How it went.

    Args:
        requests: How many were made at once.
        latencies: Milliseconds from the common start to each result.
        failures: Why requests failed.
        wall_ms: Until the last one was answered.
    """

    requests: int
    latencies: list[float]
    wall_ms: float
    failures: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        summary = Summary.of(self.latencies) if self.latencies else None
        values: dict[str, Any] = {
            "unit": "ms",
            "requests": self.requests,
            "succeeded": len(self.latencies),
            "median": summary and summary.median,
            "p99": summary and summary.p99,
            "maximum": summary and summary.maximum,
            "wall_ms": self.wall_ms,
            "failures": self.failures,
            "samples": self.latencies,
        }
        return rounded(values, 1)


async def measure_burst(settings: Settings, runtime: str, requests: int) -> Burst:
    """Ask an engine whose pool is empty for `requests` programs at the same moment."""
    async with Engine(replace(settings, pool=PoolSettings(minimum=0, maximum=4))) as engine:
        await engine.template(runtime)
        latencies: list[float] = []
        failures: list[str] = []
        begun = time.perf_counter()

        async def ask() -> None:
            try:
                checked(await engine.run(HELLO, runtime=runtime))
                latencies.append(ms_since(begun))
            except (EmberboxError, BenchError) as error:
                failures.append(str(error))

        try:
            async with asyncio.timeout(BOUND_S), asyncio.TaskGroup() as group:
                for _ in range(requests):
                    group.create_task(ask())
        except TimeoutError:
            missing = requests - len(latencies) - len(failures)
            failures += [f"no answer within {BOUND_S:g} s"] * missing
        return Burst(
            requests=requests,
            latencies=latencies,
            wall_ms=ms_since(begun),
            failures=failures,
        )
