"""How long a language takes to its greeting, sent as inline code, and how much memory."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emberbox.bench.samplers.base import ms_since
from emberbox.bench.statistics import percentile
from emberbox.languages.programs import check_greeting
from emberbox.languages.subject import check_nothing_left
from emberbox.languages.verdict import Wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.languages.subject import Subject
    from emberbox.model import RunResult

REFILL_S = 120.0


@dataclass(slots=True)
class Spread:
    """Samples of one thing, in milliseconds, in the order in which they were taken."""

    samples: list[float] = field(default_factory=list)

    def percentile(self, percent: int) -> float | None:
        """Return a percentile, interpolated between the two nearest samples; None when there is no sample.

        Args:
            percent: 0 to 100.
        """
        return percentile(self.samples, percent) if self.samples else None

    def to_dict(self) -> dict[str, Any] | None:
        """Return JSON-ready values; None when there is no sample."""
        p50, p95 = self.percentile(50), self.percentile(95)
        if p50 is None or p95 is None:
            return None
        return {
            "n": len(self.samples),
            "p50": round(p50, 2),
            "p95": round(p95, 2),
            "minimum": round(min(self.samples), 2),
            "maximum": round(max(self.samples), 2),
            "samples": [round(sample, 2) for sample in self.samples],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Args:
        cold: Boots without a snapshot.
        clones: Clones made for the call.
        pooled: Claims of a pool of one.
        compiles: Compilations of a source that is new each time.
        budget_s: No sample of a kind begins later than this many seconds after the first of it.
    """

    cold: int = 2
    clones: int = 10
    pooled: int = 10
    compiles: int = 3
    budget_s: float = 20.0


QUICK = Plan(cold=0, clones=3, pooled=0, compiles=1, budget_s=10.0)


@dataclass(slots=True, kw_only=True)
class Times:
    """What was measured of one language, milliseconds from the call to the result.

    Attributes:
        cold: Booted for the call.
        clone: Cloned for the call; a compiled program comes from the cache of programs.
        pooled: Claimed from a pool; likewise.
        clone_cpu: The program's own CPU time in the guest, in the runs of `clone`.
        pooled_cpu: The same in those of `pooled`.
        fresh: Cloned for the call, and compiled in it.
        compile: The compile stage of `fresh` alone.
        peak_memory_mib: Most that the program took.
        compile_peak_memory_mib: Most that the compiler took; None where nothing is compiled.
    """

    cold: Spread = field(default_factory=Spread)
    clone: Spread = field(default_factory=Spread)
    pooled: Spread = field(default_factory=Spread)
    clone_cpu: Spread = field(default_factory=Spread)
    pooled_cpu: Spread = field(default_factory=Spread)
    fresh: Spread = field(default_factory=Spread)
    compile: Spread = field(default_factory=Spread)
    peak_memory_mib: float = 0.0
    compile_peak_memory_mib: float | None = None

    def note(self, result: RunResult) -> None:
        """Keep what a run says of memory."""
        self.peak_memory_mib = max(self.peak_memory_mib, result.metrics.peak_memory_mib)
        if result.compile is not None and not result.compile.cached:
            self.compile_peak_memory_mib = max(
                self.compile_peak_memory_mib or 0.0, result.compile.peak_memory_mib
            )


async def measure_cold(subject: Subject, plan: Plan, times: Times) -> None:
    """Boot and run `hello`."""
    hello = subject.example("hello").read_bytes()
    await _sample(plan.cold, plan.budget_s, times.cold, lambda: _greet(subject, hello, times, cold=True))


async def measure_clones(subject: Subject, plan: Plan, times: Times) -> None:
    """Clone and run `hello`; the first does not count."""
    hello = subject.example("hello").read_bytes()
    await _greet(subject, hello, times)
    await _sample(
        plan.clones, plan.budget_s, times.clone, lambda: _greet(subject, hello, times, cpu=times.clone_cpu)
    )


async def measure_compiles(subject: Subject, plan: Plan, times: Times) -> None:
    """Clone, compile a source that was never seen before, and run it.

    Does nothing for a language that is not compiled.
    """
    if subject.runtime.compile is None:
        return
    source = subject.example("hello").read_bytes()

    async def compile_and_run() -> float:
        begun = time.perf_counter()
        result = check_greeting(await subject.run(source + unseen()), "hello")
        elapsed_ms = ms_since(begun)
        times.note(result)
        if result.compile is not None and not result.compile.cached:
            times.compile.samples.append(result.compile.wall_ms)
        await check_nothing_left(subject)
        return elapsed_ms

    await _sample(plan.compiles, plan.budget_s, times.fresh, compile_and_run)


async def measure_pooled(subject: Subject, plan: Plan, times: Times) -> None:
    """Claim from a pool and run `hello`; `subject`'s engine has pools of one."""
    hello = subject.example("hello").read_bytes()

    async def claim() -> float:
        await _fill(subject)
        begun = time.perf_counter()
        result = await subject.run(hello)
        elapsed_ms = ms_since(begun)
        if check_greeting(result, "hello").metrics.source != "pool":
            raise Wrong("the pool was empty", "see why it is not filled: emberbox -v runtimes check …")
        times.note(result)
        times.pooled_cpu.samples.append(_cpu_ms(result))
        return elapsed_ms

    await claim()
    times.pooled_cpu.samples.clear()
    await _sample(plan.pooled, plan.budget_s, times.pooled, claim)


def unseen() -> bytes:
    """Return blanks that make a source one that was never compiled: no language sees them at its end."""
    bits = secrets.randbits(48)
    return b"\n" + b"".join(b" " if bits >> place & 1 else b"\n" for place in range(48)) + b"\n"


def _cpu_ms(result: RunResult) -> float:
    return result.metrics.cpu_user_ms + result.metrics.cpu_system_ms


async def _greet(
    subject: Subject, hello: bytes, times: Times, *, cold: bool = False, cpu: Spread | None = None
) -> float:
    begun = time.perf_counter()
    result = await subject.run(hello, cold=cold)
    elapsed_ms = ms_since(begun)
    times.note(check_greeting(result, "hello"))
    if cpu is not None:
        cpu.samples.append(_cpu_ms(result))
    await check_nothing_left(subject)
    return elapsed_ms


async def _sample(count: int, budget_s: float, spread: Spread, work: Callable[[], Awaitable[float]]) -> None:
    begun = time.monotonic()
    for _ in range(count):
        if spread.samples and time.monotonic() - begun > budget_s:
            return
        spread.samples.append(await work())


async def _fill(subject: Subject) -> None:
    if not await subject.engine.warm_pool(subject.runtime.name, 1, timeout_s=REFILL_S):
        raise Wrong(f"the pool was not full within {REFILL_S:g} s", "see why: emberbox -v runtimes check …")
    await check_nothing_left(subject, 1)
