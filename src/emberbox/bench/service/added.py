"""What the service puts between a request and its result, beside the engine alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emberbox.bench.latency import take_turns
from emberbox.bench.processes import cpu_ms
from emberbox.bench.samplers.base import GREETING, HELLO, BenchError, ms_since
from emberbox.bench.samplers.clone import PoolClaim
from emberbox.bench.service.server import serving
from emberbox.bench.statistics import Series, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emberbox.bench.service.connection import Connection
    from emberbox.bench.service.server import Server
    from emberbox.config import Settings

PATH = "/v1/jobs?wait=30"
STAGES = {
    "accept": "request sent → job written: HTTP, key, checks, database",
    "queue": "→ taken by the worker",
    "claim": "→ VM claimed, script fetched, program started",
    "program": "→ program ended (the engine's work)",
    "answer": "→ end written, log kept, answer read",
}
"""Parts of a request, in order, by the times that the job tells; the first one's label says where
it begins."""


@dataclass(slots=True, kw_only=True)
class ServiceTime:
    """What was found. All in milliseconds.

    Attributes:
        rows: `service_engine`, `service_request` and `service_fresh`, from call to result; and
            `…_rest`, the same without what each run's own metrics tell of it: wait for a VM and the
            program's time by the guest's clock, which vary far more than the rest.
        stages: Where the time of a request goes; the last one, `outside`, is the sum of all but the
            program's.
        cpu: Processor time of the service's process while a request was under way.
    """

    rows: list[Series]
    stages: list[Series] = field(default_factory=list)
    cpu: Series

    def median(self, name: str) -> float | None:
        """Return the median of a row; None without it."""
        return next((series.median for series in self.rows if series.name == name), None)

    @property
    def added_ms(self) -> float | None:
        """Time that the service adds, p50: the difference of the medians of the rests.

        Held against the target.
        """
        return _difference(self.median("service_request_rest"), self.median("service_engine_rest"))

    @property
    def added_fresh_ms(self) -> float | None:
        """The same when each script is one that the service has never seen."""
        return _difference(self.median("service_fresh_rest"), self.median("service_engine_rest"))

    @property
    def plain_ms(self) -> float | None:
        """The plain difference of the medians, from call to result."""
        return _difference(self.median("service_request"), self.median("service_engine"))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "unit": "ms",
            "added": rounded(self.added_ms, 3),
            "added_with_new_scripts": rounded(self.added_fresh_ms, 3),
            "difference_of_medians": rounded(self.plain_ms, 3),
            "rows": {series.name: series.to_dict() for series in self.rows},
            "stages": {series.name: series.to_dict() for series in self.stages},
            "cpu": self.cpu.to_dict(),
        }


class EngineAlone(PoolClaim):
    """The engine in this process, claiming from a primed pool side by side with the service."""

    name = "service_engine"
    label = "engine alone, claim from a primed pool of one"
    note = "in the benchmark's process, from the call of Engine.run to its result"


class Request:
    """A request with `?wait` on a kept-alive connection.

    The service's pool is full, and nothing else goes on.

    Args:
        server: With a pool of one.
        runtime: Of the program.
        fresh: Whether each request has a script that the service has never seen, which it must store first.
    """

    note = (
        "another process over HTTP on a kept-alive connection, "
        "from the request's first byte to the answer's last"
    )

    def __init__(self, server: Server, runtime: str, *, fresh: bool = False) -> None:
        self.name = "service_fresh" if fresh else "service_request"
        self.label = "the service, POST /v1/jobs?wait, " + (
            "a new script each time" if fresh else "the same pool and script"
        )
        self._server = server
        self._runtime = runtime
        self._fresh = fresh
        self._connection: Connection | None = None
        self.rests: list[float] = []
        self.cpu: list[float] = []
        self.stages: dict[str, list[float]] = {name: [] for name in STAGES}

    async def open(self) -> None:
        """Connect, warm the pool, and run once."""
        self._connection = await self._server.connect()
        await self.sample()
        for values in (self.rests, self.cpu, *self.stages.values()):
            values.clear()

    async def sample(self) -> float:
        """Make one request, in milliseconds, and wait until the service is at rest again."""
        if self._connection is None:
            raise BenchError("not open")
        await self._server.settle(self._connection, self._runtime, 1)
        used = cpu_ms(self._server.pid)
        code = f"{HELLO}  # {time.time_ns()}" if self._fresh else HELLO
        sent, begun = time.time(), time.perf_counter()
        answer = await self._connection.request("POST", PATH, {"runtime": self._runtime, "code": code})
        elapsed_ms = ms_since(begun)
        used = cpu_ms(self._server.pid) - used
        await self._server.settle(self._connection, self._runtime, 1)
        if answer.status != 200:
            raise BenchError(f"answered with {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}")
        self._note(answer.json(), sent, elapsed_ms)
        self.cpu.append(used)
        return elapsed_ms

    def _note(self, job: Mapping[str, Any], sent: float, elapsed_ms: float) -> None:
        metrics = greeted(job)["metrics"]
        if metrics["source"] != "pool":
            raise BenchError("the service's pool was empty")
        self.rests.append(elapsed_ms - metrics["queue_ms"] - metrics["boot_ms"] - metrics["run_ms"])
        for name, value in stages_of(job["times"], sent, elapsed_ms).items():
            self.stages[name].append(value)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


def greeted(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the job if it was a hello that went well. Raises `BenchError`."""
    if job["status"] != "succeeded" or job["stdout"] != GREETING.decode():
        raise BenchError(
            f"a job {job['status']}: {job['message'] or str(job['stderr'] or job['stdout'])[:200]}"
        )
    return job


def stages_of(times: Mapping[str, str], sent: float, elapsed_ms: float) -> dict[str, float]:
    """Split a request's time by what the job tells; both ends are by the same clock.

    Args:
        times: The job's.
        sent: When the request was sent, in seconds since the epoch.
        elapsed_ms: Until its answer was read.
    """
    marks = [
        datetime.fromisoformat(times[f"{name}_at"]).timestamp()
        for name in ("created", "claimed", "started", "ended")
    ]
    marks = [sent, *marks, sent + elapsed_ms / 1000]
    return {name: (marks[number + 1] - marks[number]) * 1000 for number, name in enumerate(STAGES)}


async def measure_service(
    settings: Settings, runtime: str, samples: int, *, budget_s: float, say: Callable[[str], None]
) -> ServiceTime:
    """Take the engine alone and the service in turns, `samples` times each.

    The service is given the same script each time, and new ones.

    Raises:
        BenchError: The service did not start, or one of them could not be measured.
    """
    async with serving(settings, pool_minimum=1, pool_maximum=1) as server:
        engine, request, fresh = (
            EngineAlone(settings, runtime),
            Request(server, runtime),
            Request(server, runtime, fresh=True),
        )
        rows, skipped = await take_turns([engine, request, fresh], samples, budget_s=budget_s, say=say)
    if skipped:
        raise BenchError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    rests = [
        Series(
            name=f"{sampler.name}_rest",
            label=f"{short}: without the program's own time",
            samples=sampler.rests,
        )
        for sampler, short in (
            (engine, "engine alone"),
            (request, "the service"),
            (fresh, "the service, new scripts"),
        )
    ]
    stages = [
        Series(name=name, label=STAGES[name], samples=values) for name, values in request.stages.items()
    ]
    outside = [
        sum(parts)
        for parts in zip(*(request.stages[name] for name in STAGES if name != "program"), strict=True)
    ]
    stages.append(Series(name="outside", label="all but the program, of each request", samples=outside))
    cpu = Series(
        name="cpu", label="processor time of the service's process in a request", samples=request.cpu
    )
    return ServiceTime(rows=[*rows, *rests], stages=stages, cpu=cpu)


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
