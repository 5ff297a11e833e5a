"""The part of a benchmark run that measures the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.bench.samplers.drain import measure_drain
from emberbox.bench.samplers.followers import measure_followers
from emberbox.bench.samplers.idle import measure_idle
from emberbox.bench.samplers.service import measure_service
from emberbox.bench.samplers.stream import measure_stream
from emberbox.bench.samplers.submit import measure_submit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.bench.options import BenchOptions
    from emberbox.bench.service_findings import ServiceFindings
    from emberbox.config import Settings

BUDGET_S = 120.0
"""No round of requests begins later than that."""
EXCHANGES = 100
FOLLOWERS = 200


class ServicePart:
    """Letters k to p. Each starts services of its own and ends them.

    Args:
        settings: Whose data folder holds the images.
        runtime: Of the programs.
        options: What was asked for.
        say: Takes a line of progress.
        findings: Where the figures go.
    """

    def __init__(
        self, settings: Settings, runtime: str, options: BenchOptions, say: Callable[[str], None], findings: ServiceFindings
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._options = options
        self._say = say
        self._findings = findings

    @property
    def works(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What measures each of them, by name, in the order in which they are measured."""
        return {
            "service": self._service,
            "stream": self._stream,
            "followers": self._followers,
            "submit": self._submit,
            "idle": self._idle,
            "drain": self._drain,
        }

    async def _service(self) -> None:
        self._findings.service = await measure_service(
            self._settings, self._runtime, self._options.samples, budget_s=BUDGET_S, say=self._say
        )

    async def _stream(self) -> None:
        samples = 20 if self._options.quick else EXCHANGES
        self._findings.stream = await measure_stream(self._settings, self._runtime, samples)

    async def _followers(self) -> None:
        self._findings.followers = await measure_followers(self._settings, self._runtime, FOLLOWERS)

    async def _submit(self) -> None:
        quick = self._options.quick
        self._findings.submit = await measure_submit(
            self._settings, self._runtime, window_s=2.0 if quick else 3.0, windows=1 if quick else 3
        )

    async def _idle(self) -> None:
        quick = self._options.quick
        self._findings.idle = await measure_idle(
            self._settings, self._runtime, starts=2 if quick else 5, idle_s=3.0 if quick else 10.0, jobs=20 if quick else 100
        )

    async def _drain(self) -> None:
        quick = self._options.quick
        self._findings.drain = await measure_drain(
            self._settings,
            self._runtime,
            jobs=100 if quick else 1000,
            window_s=5.0 if quick else 10.0,
            windows=1 if quick else 3,
            say=self._say,
        )
