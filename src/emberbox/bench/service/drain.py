"""How fast a full queue is worked off, beside the engine alone."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from emberbox.bench.processes import cpu_ms, rss_mib, watching_rss
from emberbox.bench.samplers.base import HELLO, BenchError
from emberbox.bench.samplers.throughput import keep_busy, rates_of
from emberbox.bench.service.server import blocked, serving
from emberbox.bench.statistics import rounded
from emberbox.config import SERVICE_POOL, PoolSettings
from emberbox.sandbox import Engine
from emberbox.service.service import concurrency

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.bench.service.server import Server
    from emberbox.config import Settings

SUBMITTERS = 8
LOOK_S = 1.0
STALLED_S = 60.0
FIRST_S = 1.0
"""What ends in the first second does not count, as with the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """What was found.

    Args:
        jobs: How many waited when the worker was let go.
        concurrency: Programs under way at once, of both.
        window_s: Length of the windows.
        windows: Jobs a second in each window of the service's.
        engine_windows: Programs a second in each window of the engine's, half of them before the
            service and half behind.
        rate: Jobs a second from a second behind the claim that filled all places until the last job
            was taken from the queue.
        wall_s: From the moment when the worker was let go until the last job had ended.
        rss: The service's resident memory in MiB, every second.
        rss_before: The same before the jobs were submitted.
        cpu_ms: Processor time of the service's process for each job; its VMs do not count.
        engine_cpu_ms: The same of the benchmark's process for each of the engine's programs.
        failures: Jobs and programs that did not succeed.
    """

    jobs: int
    concurrency: int
    window_s: float
    windows: list[float]
    engine_windows: list[float]
    rate: float
    wall_s: float
    rss: list[float]
    rss_before: float
    cpu_ms: float
    engine_cpu_ms: float
    failures: list[str] = field(default_factory=list)

    @property
    def engine_rate(self) -> float:
        """The engine's programs a second, over all of its windows."""
        return sum(self.engine_windows) / len(self.engine_windows)

    @property
    def share(self) -> float | None:
        """The service's rate as a part of the engine's; None when the engine got nothing done."""
        return self.rate / self.engine_rate if self.engine_rate else None

    @property
    def growth_mib(self) -> float:
        """How much more memory the service had at the end than when the worker was let go."""
        return self.rss[-1] - self.rss[0]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        rss = {
            "before": self.rss_before,
            "start": self.rss[0],
            "maximum": max(self.rss),
            "end": self.rss[-1],
            "samples": self.rss,
        }
        return {
            "jobs": self.jobs,
            "concurrency": self.concurrency,
            "unit": "jobs/s",
            "rate": rounded(self.rate, 2),
            "engine_rate": rounded(self.engine_rate, 2),
            "share": rounded(self.share, 4),
            "wall_s": rounded(self.wall_s, 1),
            "window_s": self.window_s,
            "windows": rounded(self.windows, 2),
            "engine_windows": rounded(self.engine_windows, 2),
            "rss_mib": rounded(rss, 1),
            "cpu_ms": rounded(self.cpu_ms, 2),
            "engine_cpu_ms": rounded(self.engine_cpu_ms, 2),
            "failures": self.failures,
        }


async def measure_drain(
    settings: Settings, runtime: str, *, jobs: int, window_s: float, windows: int, say: Callable[[str], None]
) -> Drain:
    """Let a service work off `jobs` waiting jobs.

    The engine alone runs the same program before and behind it. Both have the same pool and as many
    programs under way at once: the service's defaults.

    Args:
        settings: Whose data folder holds the images.
        runtime: Of the program.
        jobs: How many.
        window_s: Length of the engine's windows.
        windows: How many before and how many behind.
        say: Takes a line of progress.

    Raises:
        BenchError: The service did not start, lost jobs, or stood still.
    """
    places = concurrency(settings)
    failures: list[str] = []
    rates: list[float] = []
    used_ms = 0.0

    async def run_alone() -> None:
        nonlocal used_ms
        async with Engine(replace(settings, pool=PoolSettings(maximum=SERVICE_POOL))) as engine:
            await engine.template(runtime)
            before = cpu_ms(os.getpid())
            rates.extend(await keep_busy(engine, runtime, places, window_s, windows, failures))
            used_ms += cpu_ms(os.getpid()) - before

    say("draining: the engine alone")
    await run_alone()
    async with serving(settings) as server:
        say(f"draining: {jobs} jobs")
        service = await _drain(server, runtime, jobs, places, window_s)
    say("draining: the engine alone, again")
    await run_alone()
    return replace(
        service,
        engine_windows=rates,
        engine_cpu_ms=used_ms / max(1.0, sum(rates) * window_s),
        failures=service.failures + failures,
    )


async def _drain(server: Server, runtime: str, jobs: int, places: int, window_s: float) -> Drain:
    connection = await server.connect()
    before = rss_mib(server.pid)
    async with blocked(connection, runtime, places):
        order = {"runtime": runtime, "code": HELLO, "name": "drain"}
        await server.at_once(
            jobs, SUBMITTERS, lambda submitting: submitting.expect(202, "POST", "/v1/jobs", order)
        )
        used = cpu_ms(server.pid)
        begun = time.time()
    async with watching_rss(server.pid, LOOK_S) as rss:
        await _until_done(server, jobs)
    wall_s = time.time() - begun
    used = cpu_ms(server.pid) - used
    rows = await asyncio.to_thread(
        server.rows, "SELECT status, claimed_at, finished_at FROM jobs WHERE name = 'drain'"
    )
    failures = [f"a job {status}" for status, _, _ in rows if status != "succeeded"]
    rate, rates = rates_while_full(
        [row[1] / 1e6 for row in rows], [row[2] / 1e6 for row in rows], places, window_s
    )
    return Drain(
        jobs=jobs,
        concurrency=places,
        window_s=window_s,
        windows=rates,
        engine_windows=[],
        rate=rate,
        wall_s=wall_s,
        rss=rss,
        rss_before=before,
        cpu_ms=used / jobs,
        engine_cpu_ms=0.0,
        failures=failures,
    )


def rates_while_full(
    claims: list[float], ends: list[float], places: int, window_s: float
) -> tuple[float, list[float]]:
    """Return how many jobs ended in a second while all places were taken: over all, and in each whole window.

    Args:
        claims: When each was taken from the queue, in seconds.
        ends: When each ended.
        places: Jobs that run at once; the second behind the claim that filled them does not count.
        window_s: Length of a window; the only one is shorter when there is no time for a whole one.

    Raises:
        BenchError: There were too few jobs to say anything.
    """
    claims = sorted(claims)
    start, stop = claims[min(places, len(claims)) - 1] + FIRST_S, claims[-1]
    if stop - start <= 0:
        raise BenchError("there were too few jobs to say how fast they are worked off")
    window_s = min(window_s, stop - start)
    counted = sum(start <= end < stop for end in ends)
    return counted / (stop - start), rates_of(ends, start, window_s, int((stop - start) // window_s))


async def _until_done(server: Server, jobs: int) -> None:
    """Wait until as many jobs have ended. Raises `BenchError` when none ends for some time."""
    done, changed = 0, time.monotonic()
    while done < jobs:
        await asyncio.sleep(LOOK_S)
        query = "SELECT count(*) FROM jobs WHERE name = 'drain' AND finished_at IS NOT NULL"
        count = (await asyncio.to_thread(server.rows, query))[0][0]
        if count > done:
            done, changed = count, time.monotonic()
        elif time.monotonic() - changed > STALLED_S:
            raise BenchError(
                f"the service stood still: {done} of {jobs} jobs had ended; {server.last_words()}"
            )
