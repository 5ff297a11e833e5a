"""One benchmark run from its first to its last measurement."""

from __future__ import annotations

import datetime
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from emberbox.bench.findings import Findings
from emberbox.bench.host import look_at_host
from emberbox.bench.latency import take_turns
from emberbox.bench.samplers.base import BenchError
from emberbox.bench.samplers.breakdown import engine_view, measure_breakdown
from emberbox.bench.samplers.burst import measure_burst
from emberbox.bench.samplers.clone import Clone, PoolClaim
from emberbox.bench.samplers.cold import ColdBoot
from emberbox.bench.samplers.command import ShellCommand, start_up_times
from emberbox.bench.samplers.memory import measure_memory
from emberbox.bench.samplers.throughput import measure_throughput
from emberbox.bench.service.added import measure_service
from emberbox.bench.service.drain import measure_drain
from emberbox.bench.service.followers import measure_followers
from emberbox.bench.service.idle import measure_idle
from emberbox.bench.service.stream import measure_stream
from emberbox.bench.service.submit import measure_submit
from emberbox.config import CapacitySettings, PoolSettings, WorkerSettings, load_settings
from emberbox.errors import EmberboxError
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from emberbox.bench.options import BenchOptions
    from emberbox.bench.samplers.base import Sampler
    from emberbox.config import Settings

_F = TypeVar("_F", bound=Findings)
RUNTIME = "python"
BUDGET_S = 240.0
"""No round of latencies begins later than that; what is measured behind them takes about six minutes."""
REQUESTS = 50
SANDBOXES = 10
SERVICE_BUDGET_S = 120.0
"""No round of requests begins later than that."""
EXCHANGES = 100
FOLLOWERS = 200


class Session(Generic[_F]):
    """One run.

    Args:
        options: What to measure.
        say: Takes a line of progress.
        findings: What the figures go into.
        beside: Makes further latencies, each by the name of its measurement, to be taken in turns
            with Emberbox's own.
    """

    def __init__(
        self,
        options: BenchOptions,
        say: Callable[[str], None],
        findings: type[_F],
        beside: Sequence[tuple[str, Callable[[], Sampler]]] = (),
    ) -> None:
        self._options = options
        self._say = say
        self._findings = findings
        self._beside = beside
        self._settings = plain_settings(options.settings or load_settings())

    async def run(self) -> _F:
        """Measure all that was chosen.

        What cannot be measured is named with its reason and does not end the run.

        Raises:
            EmberboxError: No engine or no template: then nothing can be measured.
        """
        load, begun = os.getloadavg(), time.monotonic()
        taken_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        async with Engine(self._settings) as engine:
            self._say("opening the template")
            await engine.template(RUNTIME)
            findings = self._findings(
                host=look_at_host(engine.driver, load),
                taken_at=taken_at,
                quick=self._options.quick,
                selected=bool(self._options.only),
            )
            await self._latencies(engine, findings)
            quick, here = self._options.quick, (engine, RUNTIME)
            steps = partial(measure_breakdown, *here, 3 if quick else 10)
            await self.attempt(findings, "breakdown", steps, field="steps")
            memory = partial(measure_memory, *here, count=SANDBOXES, idle_s=5.0)
            await self.attempt(findings, "memory", memory)
            throughput = partial(
                measure_throughput,
                *here,
                trial_s=2.0 if quick else 4.0,
                window_s=4.0 if quick else 10.0,
                windows=1 if quick else 3,
            )
            await self.attempt(findings, "throughput", throughput)
        burst = partial(measure_burst, self._settings, RUNTIME, REQUESTS)
        await self.attempt(findings, "burst", burst)
        for name, work in service_works(self._settings, RUNTIME, self._options, self._say).items():
            await self.attempt(findings, name, work, into=findings.service)
        findings.duration_s = time.monotonic() - begun
        return findings

    async def _latencies(self, engine: Engine, findings: Findings) -> None:
        clone = Clone(engine, RUNTIME)
        candidates: list[tuple[str, Callable[[], Sampler]]] = [
            ("cold", lambda: ColdBoot(self._settings, RUNTIME)),
            ("clone", lambda: clone),
            ("pool", lambda: PoolClaim(self._settings, RUNTIME)),
            *self._beside,
            ("command", lambda: ShellCommand(self._settings)),
        ]
        chosen = self._options.chosen
        samplers = [make() for name, make in candidates if name in chosen]
        if samplers:
            findings.latencies, skipped = await take_turns(
                samplers, self._options.samples, budget_s=BUDGET_S, say=self._say
            )
            findings.skipped.update(skipped)
            if clone.metrics:
                findings.engine_parts = engine_view(clone.metrics)
        if "command" in chosen and "command" not in findings.skipped:
            findings.start_up = await start_up_times(3 if self._options.quick else 10)

    async def attempt(
        self,
        findings: Findings,
        name: str,
        work: Callable[[], Awaitable[Any]],
        *,
        into: object = None,
        field: str | None = None,
    ) -> None:
        """Measure one thing if it was chosen, and keep it as `field` of `into`.

        Left out, these are its own name, and the findings.
        """
        if name not in self._options.chosen:
            return
        self._say(f"measuring {name}")
        try:
            setattr(into or findings, field or name, await work())
        except (BenchError, EmberboxError, TimeoutError) as error:
            findings.skipped[name] = str(error) or "took too long"


def service_works(
    settings: Settings, runtime: str, options: BenchOptions, say: Callable[[str], None]
) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return what measures each of the letters k to p, in the order in which they are measured.

    Each starts services of its own, ends them, and returns what `ServiceFindings` has by its name.

    Args:
        settings: Whose data folder holds the images.
        runtime: Of the programs.
        options: What was asked for.
        say: Takes a line of progress.
    """
    quick, whose = options.quick, (settings, runtime)
    return {
        "service": partial(measure_service, *whose, options.samples, budget_s=SERVICE_BUDGET_S, say=say),
        "stream": partial(measure_stream, *whose, 20 if quick else EXCHANGES),
        "followers": partial(measure_followers, *whose, FOLLOWERS),
        "submit": partial(measure_submit, *whose, window_s=2.0 if quick else 3.0, windows=1 if quick else 3),
        "idle": partial(
            measure_idle,
            *whose,
            starts=2 if quick else 5,
            idle_s=3.0 if quick else 10.0,
            jobs=20 if quick else 100,
        ),
        "drain": partial(
            measure_drain,
            *whose,
            jobs=100 if quick else 1000,
            window_s=5.0 if quick else 10.0,
            windows=1 if quick else 3,
            say=say,
        ),
    }


def plain_settings(settings: Settings) -> Settings:
    """Return the settings without a pool, and otherwise with their defaults.

    What a user has set does not skew the figures.
    """
    return replace(settings, pool=PoolSettings(), capacity=CapacitySettings(), worker=WorkerSettings())
