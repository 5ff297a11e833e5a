"""How many jobs a second are taken in, without waiting for them."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from emberbox.bench.processes import cpu_ms
from emberbox.bench.samplers.base import HELLO, BenchError, together
from emberbox.bench.samplers.throughput import rates_of
from emberbox.bench.service.server import blocked, serving
from emberbox.bench.statistics import Series, percentile, rounded
from emberbox.service.service import concurrency

if TYPE_CHECKING:
    from emberbox.bench.service.server import Server
    from emberbox.config import Settings

CONNECTIONS = 16
WARM_S = 0.5
"""What is answered so early does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Submissions over some windows.

    Args:
        label: How they were made.
        connections: Requests under way at once.
        windows: Accepted jobs a second in each window.
        latency: Of each request, in milliseconds.
        cpu_ms: Processor time of the service's process for each request.
        client_cpu_ms: The same of the benchmark's process, which makes the requests.
        accepted: Jobs that were answered with 202, over all.
        stored: How many of those are in the database.
    """

    label: str
    connections: int
    windows: list[float]
    latency: Series
    cpu_ms: float
    client_cpu_ms: float
    accepted: int
    stored: int

    @property
    def median(self) -> float:
        """Jobs a second: the median of the windows."""
        return percentile(self.windows, 50)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values. Single latencies are left out: there are thousands."""
        latency = self.latency.to_dict()
        del latency["samples"]
        median, windows = rounded(self.median, 1), rounded(self.windows, 1)
        told = {**asdict(self), "unit": "jobs/s", "median": median, "windows": windows, "latency": latency}
        return rounded(told, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What was found.

    Args:
        waiting: Nothing runs; the same script each time. Held against the target.
        fresh: The same, with a script that was never seen before in each request.
        single: The same script, one request after another on one connection.
        running: The same script, while the worker runs as many jobs as it may.
    """

    waiting: Rate
    fresh: Rate
    single: Rate
    running: Rate

    @property
    def rates(self) -> dict[str, Rate]:
        """All of them by name."""
        return {"waiting": self.waiting, "fresh": self.fresh, "single": self.single, "running": self.running}

    @property
    def missing(self) -> int:
        """Jobs that were accepted and are not in the database."""
        return sum(rate.accepted - rate.stored for rate in self.rates.values())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"missing": self.missing, **{name: rate.to_dict() for name, rate in self.rates.items()}}


async def measure_submit(settings: Settings, runtime: str, *, window_s: float, windows: int) -> Submission:
    """Submit jobs as fast as they are taken.

    First the worker is busy with jobs that sleep, then it works.

    Raises:
        BenchError: The service did not start, or answered otherwise than with 202.
    """
    async with serving(settings) as server:
        measure = partial(_measure, server, runtime, window_s)
        many, connection = f"{CONNECTIONS} connections", await server.connect()
        async with blocked(connection, runtime, concurrency(settings)):
            waiting = await measure(f"{many}, the same script", CONNECTIONS, windows)
            fresh = await measure(f"{many}, a new script each time", CONNECTIONS, 1, fresh=True)
            single = await measure("one connection, the same script", 1, 1)
        running = await measure(f"{many}, while jobs run", CONNECTIONS, 1)
        return Submission(waiting=waiting, fresh=fresh, single=single, running=running)


async def _measure(
    server: Server,
    runtime: str,
    window_s: float,
    label: str,
    connections: int,
    windows: int,
    *,
    fresh: bool = False,
) -> Rate:
    """Submit for as long as the windows take, and look for the jobs in the database."""
    jobs: list[str] = []
    answers: list[tuple[float, float]] = []
    opened = [await server.connect() for _ in range(connections)]
    server_cpu, client_cpu = cpu_ms(server.pid), cpu_ms(os.getpid())
    begun = time.perf_counter() + WARM_S
    until = begun + window_s * windows

    async def work(number: int) -> None:
        while (sent := time.perf_counter()) < until:
            code = f"{HELLO}  # {number} {time.time_ns()}" if fresh else HELLO
            order = {"runtime": runtime, "code": code, "name": "submit"}
            jobs.append((await opened[number].expect(202, "POST", "/v1/jobs", order))["id"])
            answers.append((time.perf_counter(), time.perf_counter() - sent))

    await together(work(number) for number in range(connections))
    server_cpu, client_cpu = cpu_ms(server.pid) - server_cpu, cpu_ms(os.getpid()) - client_cpu
    for connection in opened:
        connection.close()
    if not jobs:
        raise BenchError("no job was accepted")
    rows = await asyncio.to_thread(server.rows, "SELECT id FROM jobs WHERE name = 'submit'")
    took = [seconds * 1000 for end, seconds in answers if end >= begun]
    return Rate(
        label=label,
        connections=connections,
        windows=rates_of([end for end, _ in answers], begun, window_s, windows),
        latency=Series(name="submit", label=label, samples=took),
        cpu_ms=server_cpu / len(jobs),
        client_cpu_ms=client_cpu / len(jobs),
        accepted=len(jobs),
        stored=len({row[0] for row in rows} & set(jobs)),
    )
