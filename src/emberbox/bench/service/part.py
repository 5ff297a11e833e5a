"""The part of a benchmark run that measures the service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from emberbox.bench.service.added import measure_service
from emberbox.bench.service.drain import measure_drain
from emberbox.bench.service.followers import measure_followers
from emberbox.bench.service.idle import measure_idle
from emberbox.bench.service.stream import measure_stream
from emberbox.bench.service.submit import measure_submit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.bench.options import BenchOptions
    from emberbox.config import Settings

BUDGET_S = 120.0
"""No round of requests begins later than that."""
EXCHANGES = 100
FOLLOWERS = 200


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
        "service": partial(measure_service, *whose, options.samples, budget_s=BUDGET_S, say=say),
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
