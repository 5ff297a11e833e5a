"""What a service takes that has nothing to do, and how soon it is ready."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from emberbox.bench.processes import ProcessMemory, memory_of
from emberbox.bench.samplers.base import HELLO
from emberbox.bench.service.added import PATH, greeted
from emberbox.bench.service.server import serving
from emberbox.bench.statistics import Series, rounded
from emberbox.service.service import concurrency

if TYPE_CHECKING:
    from emberbox.bench.service.connection import Connection
    from emberbox.config import Settings

REST_S = 5.0
"""Between the last job and the look at the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What was found.

    Args:
        starts: Milliseconds from the start of the process to its word that it is ready.
        idle_s: How long the service had nothing to do before it was looked at first.
        fresh: Memory of its process then, in MiB; VMs are processes of their own and do not count.
        jobs: How many it ran then.
        used: Its memory behind them.
    """

    starts: Series
    idle_s: float
    fresh: ProcessMemory
    jobs: int
    used: ProcessMemory

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "start": self.starts.to_dict(),
            "idle_s": self.idle_s,
            "jobs": self.jobs,
            "unit": "MiB",
            "fresh": rounded(asdict(self.fresh), 1),
            "after_jobs": rounded(asdict(self.used), 1),
        }


async def measure_idle(settings: Settings, runtime: str, *, starts: int, idle_s: float, jobs: int) -> Idle:
    """Start a service some times, and look at the last one's memory.

    It is looked at when the service is idle, and again when it has run `jobs` jobs.

    Raises:
        BenchError: It did not start, or a job failed.
    """
    order = {"runtime": runtime, "code": HELLO}

    async def run(connection: Connection) -> None:
        greeted(await connection.expect(200, "POST", PATH, order))

    times = Series(name="service_start", label="emberbox serve: process start → ready")
    for _ in range(starts - 1):
        async with serving(settings) as server:
            times.samples.append(server.ready_ms)
    async with serving(settings) as server:
        times.samples.append(server.ready_ms)
        await asyncio.sleep(idle_s)
        fresh = memory_of(server.pid)
        await server.at_once(jobs, concurrency(settings), run)
        await asyncio.sleep(REST_S)
        return Idle(starts=times, idle_s=idle_s, fresh=fresh, jobs=jobs, used=memory_of(server.pid))
