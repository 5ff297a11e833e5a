"""Samplers and findings that need no VM."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from emberbox.bench.findings import Findings
from emberbox.bench.host import HostFacts
from emberbox.bench.processes import ProcessMemory
from emberbox.bench.samplers.burst import Burst
from emberbox.bench.samplers.memory import MemoryUse
from emberbox.bench.samplers.throughput import Throughput
from emberbox.bench.service.added import ServiceTime
from emberbox.bench.service.drain import Drain
from emberbox.bench.service.findings import ServiceFindings
from emberbox.bench.service.followers import Following
from emberbox.bench.service.idle import Idle
from emberbox.bench.service.stream import Exchange, evaluate
from emberbox.bench.service.submit import Rate, Submission
from emberbox.bench.statistics import Series

if TYPE_CHECKING:
    from collections.abc import Iterable

_F = TypeVar("_F", bound=Findings)


class FakeSampler:
    """Gives the samples that it was given; raises those that are exceptions."""

    note = "a fake"

    def __init__(
        self,
        name: str,
        samples: Iterable[float | Exception],
        log: list[str],
        opening: Exception | None = None,
    ) -> None:
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
    """Findings with these medians, and with throughput, memory, burst and the service if `whole`."""
    return filled(Findings, medians, whole=whole)


def filled(kind: type[_F], medians: dict[str, float], *, whole: bool = True) -> _F:
    """The same as findings of this kind."""
    host = HostFacts(
        cpu="Some | CPU",
        cores=2,
        memory_mib=24_000,
        kernel="6.1",
        python="3.11.2",
        emberbox="0.1.0",
        root=True,
        load_average=(0.123, 0.2, 0.3),
        accelerator="tcg",
        accelerator_reason="no hardware",
        vmm="QEMU 7.2",
    )
    findings = kind(host=host, taken_at="2026-01-02T03:04:05+00:00", quick=False, duration_s=12.34)
    findings.latencies = [
        Series(name=name, label=f"label of {name}", samples=[ms - 1, ms, ms + 1])
        for name, ms in medians.items()
    ]
    if whole:
        findings.throughput = Throughput(
            concurrency=4, window_s=10.0, windows=[13.0, 14.0, 12.0], tried={"2": 11.0, "4": 14.0}
        )
        findings.memory = MemoryUse(
            pss=[30.0, 41.0],
            private_dirty=[25.0, 26.0],
            dirty_kinds={"guest memory": 20.0},
            processes=["bwrap", "qemu"],
            idle_s=5.0,
        )
        findings.burst = Burst(requests=50, latencies=[100.0] * 50, wall_ms=3000.0)
        findings.skipped = {"drain": "no time was left"}
        findings.service = some_service()
    return findings


def some_service() -> ServiceFindings:
    """Findings about a service that reaches all of its targets, each by little."""
    return ServiceFindings(
        service=some_service_time(engine=5.0, request=14.9),
        stream=evaluate([Exchange(sent=10.0, written=107.002, logged=10.0095, received=10.0098)] * 3),
        drain=Drain(
            jobs=1000,
            concurrency=4,
            window_s=10.0,
            windows=[6.0, 7.0],
            engine_windows=[7.0, 7.0],
            rate=6.3,
            wall_s=150.0,
            rss=[100.0, 111.0, 109.9],
            rss_before=97.0,
            cpu_ms=26.0,
            engine_cpu_ms=25.0,
        ),
        submit=Submission(
            waiting=some_rate(300.0),
            fresh=some_rate(100.0),
            single=some_rate(200.0),
            running=some_rate(250.0),
        ),
        followers=Following(
            followers=200,
            complete=200,
            output_bytes=60_000,
            last_ms=[0.0, 20.0, 30.0],
            wall_s=4.0,
            cpu_ms=2500.0,
            rss_before=97.0,
            rss_maximum=110.0,
            rss_after=109.0,
        ),
        idle=Idle(
            starts=Series(name="service_start", label="start", samples=[1500.0, 1600.0]),
            idle_s=10.0,
            fresh=ProcessMemory(rss=97.0, pss=80.0),
            jobs=100,
            used=ProcessMemory(rss=119.9, pss=83.0),
        ),
    )


def some_service_time(*, engine: float, request: float) -> ServiceTime:
    """Times of the engine and of requests, both without the program's own time."""
    rests = {
        "service_engine_rest": engine,
        "service_request_rest": request,
        "service_fresh_rest": request + 2,
    }
    rows = [Series(name=name, label=name, samples=[ms]) for name, ms in rests.items()]
    rows += [
        Series(name=name.removesuffix("_rest"), label=name, samples=[ms + 30]) for name, ms in rests.items()
    ]
    return ServiceTime(rows=rows, cpu=Series(name="cpu", label="cpu", samples=[12.0]))


def some_rate(per_second: float) -> Rate:
    """A rate of submissions of which none is missing."""
    latency = Series(name="submit", label="each", samples=[10.0, 20.0])
    return Rate(
        label="some",
        connections=16,
        windows=[per_second] * 3,
        latency=latency,
        cpu_ms=1.0,
        client_cpu_ms=0.1,
        accepted=900,
        stored=900,
    )
