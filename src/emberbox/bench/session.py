"""One benchmark run from its first to its last measurement."""

from __future__ import annotations

import datetime
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.bench.findings import Findings
from emberbox.bench.host import look_at_host
from emberbox.bench.languages_part import measure_languages
from emberbox.bench.latency import take_turns
from emberbox.bench.options import LATENCIES
from emberbox.bench.samplers.base import BenchError
from emberbox.bench.samplers.breakdown import engine_view, measure_breakdown
from emberbox.bench.samplers.burst import measure_burst
from emberbox.bench.samplers.clone import Clone, PoolClaim
from emberbox.bench.samplers.cold import ColdBoot
from emberbox.bench.samplers.command import ShellCommand, start_up_times
from emberbox.bench.samplers.memory import measure_memory
from emberbox.bench.samplers.processes import bare_python, bubblewrap, gvisor, gvisor_lean
from emberbox.bench.samplers.throughput import measure_throughput
from emberbox.bench.service_part import ServicePart
from emberbox.config import CapacitySettings, PoolSettings, WorkerSettings, load_settings
from emberbox.errors import EmberboxError
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.bench.options import BenchOptions
    from emberbox.bench.samplers.base import Sampler
    from emberbox.config import Settings

RUNTIME = "python"
BUDGET_S = 240.0
"""No round of latencies begins later than that; what is measured behind them takes about six minutes."""
REQUESTS = 50
SANDBOXES = 10


class Session:
    """One run.

    Args:
        options: What to measure.
        say: Takes a line of progress.
    """

    def __init__(self, options: BenchOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._settings = _plain(options.settings or load_settings())

    async def run(self) -> Findings:
        """Measure all that was chosen. What cannot be measured is named with its reason and does not end the run.

        Raises:
            EmberboxError: No engine or no template: then nothing can be measured.
        """
        load, begun = os.getloadavg(), time.monotonic()
        taken_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        async with Engine(self._settings) as engine:
            for name in self._options.languages:
                engine.runtimes.get(name)  # a name that is none is told before anything is measured
            self._say("opening the template")
            await engine.template(RUNTIME)
            findings = Findings(
                host=look_at_host(engine.driver, load),
                taken_at=taken_at,
                quick=self._options.quick,
                selected=bool(self._options.only),
            )
            await self._latencies(engine, findings)
            await self._attempt(findings, "breakdown", lambda: self._breakdown(engine, findings))
            await self._attempt(findings, "memory", lambda: self._memory(engine, findings))
            await self._attempt(findings, "throughput", lambda: self._throughput(engine, findings))
        await self._attempt(findings, "burst", lambda: self._burst(findings))
        part = ServicePart(self._settings, RUNTIME, self._options, self._say, findings.service)
        for name, work in part.works.items():
            await self._attempt(findings, name, work)
        await self._attempt(findings, "languages", lambda: self._languages(findings))
        findings.duration_s = time.monotonic() - begun
        return findings

    async def _latencies(self, engine: Engine, findings: Findings) -> None:
        clone = Clone(engine, RUNTIME)
        candidates: list[tuple[str, Callable[[], Sampler]]] = [
            ("cold", lambda: ColdBoot(self._settings, RUNTIME)),
            ("clone", lambda: clone),
            ("pool", lambda: PoolClaim(self._settings, RUNTIME)),
            ("gvisor", gvisor),
            ("gvisor", gvisor_lean),
            ("process", bubblewrap),
            ("process", bare_python),
            ("command", lambda: ShellCommand(self._settings)),
        ]
        chosen = self._options.chosen & LATENCIES
        samplers = [make() for name, make in candidates if name in chosen]
        if samplers:
            findings.latencies, skipped = await take_turns(samplers, self._options.samples, budget_s=BUDGET_S, say=self._say)
            findings.skipped.update(skipped)
            if clone.metrics:
                findings.engine_parts = engine_view(clone.metrics)
        if "command" in chosen and "command" not in findings.skipped:
            findings.start_up = await start_up_times(3 if self._options.quick else 10)

    async def _attempt(self, findings: Findings, name: str, work: Callable[[], Awaitable[None]]) -> None:
        if name not in self._options.chosen:
            return
        self._say(f"measuring {name}")
        try:
            await work()
        except (BenchError, EmberboxError, TimeoutError) as error:
            findings.skipped[name] = str(error) or "took too long"

    async def _breakdown(self, engine: Engine, findings: Findings) -> None:
        findings.steps = await measure_breakdown(engine, RUNTIME, 3 if self._options.quick else 10)

    async def _memory(self, engine: Engine, findings: Findings) -> None:
        findings.memory = await measure_memory(engine, RUNTIME, count=SANDBOXES, idle_s=5.0)

    async def _throughput(self, engine: Engine, findings: Findings) -> None:
        quick = self._options.quick
        findings.throughput = await measure_throughput(
            engine, RUNTIME, trial_s=2.0 if quick else 4.0, window_s=4.0 if quick else 10.0, windows=1 if quick else 3
        )

    async def _burst(self, findings: Findings) -> None:
        findings.burst = await measure_burst(self._settings, RUNTIME, REQUESTS)

    async def _languages(self, findings: Findings) -> None:
        findings.languages = await measure_languages(
            self._settings,
            quick=self._options.quick,
            only=self._options.languages,
            say=self._say,
            skipped=findings.skipped,
        )


def _plain(settings: Settings) -> Settings:
    """Return the settings without a pool, and with their own defaults: what a user has set does not skew the figures."""
    return replace(settings, pool=PoolSettings(), capacity=CapacitySettings(), worker=WorkerSettings())
