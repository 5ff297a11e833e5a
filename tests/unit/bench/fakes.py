"""Samplers and findings that need no VM."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from emberbox.bench.findings import Findings
from emberbox.bench.host import HostFacts
from emberbox.bench.samplers.burst import Burst
from emberbox.bench.samplers.memory import MemoryUse
from emberbox.bench.samplers.throughput import Throughput
from emberbox.bench.statistics import Series

if TYPE_CHECKING:
    from collections.abc import Iterable


class FakeSampler:
    """Gives the samples that it was given; raises those that are exceptions."""

    note = "a fake"

    def __init__(self, name: str, samples: Iterable[float | Exception], log: list[str], opening: Exception | None = None) -> None:
        self.name = name
        self.label = f"fake {name}"
        self._samples = itertools.cycle(samples)
        self._log = log
        self._opening = opening

    async def open(self) -> None:
        self._log.append(f"open {self.name}")
        if self._opening is not None:
            raise self._opening

    async def sample(self) -> float:
        self._log.append(self.name)
        sample = next(self._samples)
        if isinstance(sample, Exception):
            raise sample
        return sample

    async def close(self) -> None:
        self._log.append(f"close {self.name}")


def some_findings(medians: dict[str, float], *, whole: bool = True) -> Findings:
    """Findings with these medians, and with throughput, memory and burst if `whole`."""
    host = HostFacts(
        cpu="Some | CPU", cores=2, memory_mib=24_000, kernel="6.1", python="3.11.2", emberbox="0.1.0", root=True,
        load_average=(0.123, 0.2, 0.3), accelerator="tcg", accelerator_reason="no hardware", vmm="QEMU 7.2",
    )  # fmt: skip
    findings = Findings(host=host, taken_at="2026-01-02T03:04:05+00:00", quick=False, duration_s=12.34)
    findings.latencies = [
        Series(name=name, label=f"label of {name}", samples=[ms - 1, ms, ms + 1]) for name, ms in medians.items()
    ]
    if whole:
        findings.throughput = Throughput(concurrency=4, window_s=10.0, windows=[13.0, 14.0, 12.0], tried={"2": 11.0, "4": 14.0})
        findings.memory = MemoryUse(
            pss=[30.0, 41.0],
            private_dirty=[25.0, 26.0],
            dirty_kinds={"guest memory": 20.0},
            processes=["bwrap", "qemu"],
            idle_s=5.0,
        )
        findings.burst = Burst(requests=50, latencies=[100.0] * 50, wall_ms=3000.0)
        findings.skipped = {"gvisor": "runsc is not installed"}
    return findings
