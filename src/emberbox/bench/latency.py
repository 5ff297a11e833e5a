"""Takes the latencies in turns, so that a machine that slows down slows all of them down alike."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import BenchError, Unavailable
from emberbox.bench.statistics import Series
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emberbox.bench.samplers.base import Sampler

SAMPLE_S = 120.0
"""Bound of one sample, whatever hangs in it."""
FAILURES = 3
"""Failures in a row after which something is no longer measured."""


async def take_turns(
    samplers: Sequence[Sampler], samples: int, *, budget_s: float, say: Callable[[str], None]
) -> tuple[list[Series], dict[str, str]]:
    """Sample each of `samplers` in turn until each has `samples`; the order is rotated from round to round.

    Args:
        samplers: What is measured; opened here, and closed in any case.
        samples: How many of each.
        budget_s: No round begins after that many seconds.
        say: Takes a line of progress.

    Returns:
        The series of those that were measured, and why the others were not, by name.
    """
    skipped: dict[str, str] = {}
    opened: list[tuple[Sampler, Series]] = []
    begun = time.monotonic()
    try:
        for sampler in samplers:
            say(f"getting ready: {sampler.label}")
            try:
                async with asyncio.timeout(SAMPLE_S):
                    await sampler.open()
            except (Unavailable, BenchError, EmberboxError, TimeoutError) as error:
                skipped[sampler.name] = str(error) or f"not ready within {SAMPLE_S:g} s"
                continue
            opened.append((sampler, Series(name=sampler.name, label=sampler.label, note=sampler.note)))
        await _rounds(opened, samples, begun + budget_s, say)
    finally:
        for sampler in samplers:
            await sampler.close()
    for _, series in opened:
        if not series.samples:
            skipped[series.name] = series.failures[-1] if series.failures else "no time was left"
    return [series for _, series in opened if series.samples], skipped


async def _rounds(
    opened: list[tuple[Sampler, Series]], samples: int, deadline: float, say: Callable[[str], None]
) -> None:
    active = list(opened)
    in_a_row = dict.fromkeys((series.name for _, series in opened), 0)
    for number in range(samples):
        if time.monotonic() > deadline or not active:
            say(f"stopped after {number} of {samples} rounds")
            return
        if number % 5 == 0:
            say(f"round {number + 1} of {samples}")
        shift = number % len(active)
        for sampler, series in active[shift:] + active[:shift]:
            if await _take(sampler, series):
                in_a_row[series.name] = 0
            else:
                in_a_row[series.name] += 1
        active = [(sampler, series) for sampler, series in active if in_a_row[series.name] < FAILURES]


async def _take(sampler: Sampler, series: Series) -> bool:
    try:
        async with asyncio.timeout(SAMPLE_S):
            series.samples.append(await sampler.sample())
    except (BenchError, EmberboxError, TimeoutError) as error:
        series.failures.append(str(error) or f"no result within {SAMPLE_S:g} s")
        return False
    return True
