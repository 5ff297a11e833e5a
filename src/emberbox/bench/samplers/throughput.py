"""How many programs a second, each in a new clone, the whole host gets done."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from emberbox.bench.samplers.base import HELLO, BenchError, checked, settle
from emberbox.bench.statistics import percentile, rounded
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from emberbox.sandbox import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What was reached.

    Args:
        concurrency: Programs under way at once, the best of what was tried.
        window_s: Length of each window.
        windows: VMs a second in each window.
        tried: VMs a second at each concurrency that was tried.
        failures: Programs that failed.
    """

    concurrency: int
    window_s: float
    windows: list[float]
    tried: dict[str, float]
    failures: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        """VMs a second: the median of the windows."""
        return percentile(self.windows, 50)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        spread = {"median": self.median, "minimum": min(self.windows), "maximum": max(self.windows)}
        return rounded({"unit": "VMs/s", **spread, **asdict(self)}, 2)


async def measure_throughput(
    engine: Engine, runtime: str, *, trial_s: float, window_s: float, windows: int
) -> Throughput:
    """Try some concurrencies for `trial_s` seconds each, then take windows at the best of them.

    The VMs are confined as ever; ending them counts, since it goes on beside the next ones.
    """
    cores = len(os.sched_getaffinity(0))
    failures: list[str] = []
    tried = {}
    for concurrency in sorted({cores, cores + 1, 2 * cores, 3 * cores}):
        tried[concurrency] = (await keep_busy(engine, runtime, concurrency, trial_s, 1, failures))[0]
        await settle(engine)
    best = max(tried, key=lambda concurrency: tried[concurrency])
    rates = await keep_busy(engine, runtime, best, window_s, windows, failures)
    await settle(engine)
    return Throughput(
        concurrency=best,
        window_s=window_s,
        windows=rates,
        tried={str(concurrency): rate for concurrency, rate in tried.items()},
        failures=failures,
    )


async def keep_busy(
    engine: Engine, runtime: str, concurrency: int, window_s: float, windows: int, failures: list[str]
) -> list[float]:
    """Keep `concurrency` programs under way and return how many a second end in each window.

    A first second does not count. Failures are added to `failures`.
    """
    ends: list[float] = []
    begun = time.perf_counter() + 1.0
    until = begun + window_s * windows

    async def work() -> None:
        while time.perf_counter() < until:
            try:
                checked(await engine.run(HELLO, runtime=runtime))
                ends.append(time.perf_counter())
            except (BenchError, EmberboxError) as error:
                failures.append(str(error))

    async with asyncio.timeout(1.0 + window_s * windows + 60), asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return rates_of(ends, begun, window_s, windows)


def rates_of(ends: list[float], begun: float, window_s: float, windows: int) -> list[float]:
    """Return how many of the moments `ends` lie in each window, a second."""
    counts = [0] * windows
    for end in ends:
        number = int((end - begun) // window_s)
        if 0 <= number < windows:
            counts[number] += 1
    return [count / window_s for count in counts]
