"""Measures the languages, one after another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.languages.findings import LanguageFindings
from bench.languages.measuring import BRIEF, FULL, disk_use, measure_language
from emberbox.errors import EmberboxError
from emberbox.languages.verdict import Skipped, Wrong
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import Settings

LANGUAGE_S = 300.0
"""Bound of one language, whatever hangs in it."""
BUDGET_S = 2700.0
"""No language begins later than that."""


async def measure_languages(
    settings: Settings,
    *,
    quick: bool,
    only: tuple[str, ...],
    say: Callable[[str], None],
    skipped: dict[str, str],
) -> LanguageFindings:
    """Measure every language whose image is built; the others are named in `skipped` with the reason.

    Args:
        settings: Without a pool.
        quick: Fewer samples.
        only: Names of runtimes that there are; empty for all.
        say: Takes a line of progress.
        skipped: Takes what was not measured, and why.
    """
    findings = LanguageFindings()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with Engine(settings) as engine:
        findings.known = engine.runtimes.names
        built = {
            runtime.name: image
            for runtime in engine.runtimes
            if (image := engine.images.find(runtime)) is not None
        }
        findings.disk = disk_use(built.values())
        chosen = [engine.runtimes.get(name) for name in only] or list(engine.runtimes)
        for runtime in chosen:
            if runtime.name not in built:
                skipped[f"languages: {runtime.name}"] = (
                    f"its image is not built: emberbox images build {runtime.name}"
                )
                continue
            if loop.time() - begun > BUDGET_S:
                skipped[f"languages: {runtime.name}"] = "no time was left"
                continue
            say(f"measuring {runtime.name}")
            try:
                async with asyncio.timeout(LANGUAGE_S):
                    findings.rows.append(await measure_language(engine, runtime, BRIEF if quick else FULL))
            except (Skipped, Wrong, EmberboxError, TimeoutError) as error:
                skipped[f"languages: {runtime.name}"] = str(error) or f"not done within {LANGUAGE_S:g} s"
    return findings
