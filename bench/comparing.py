"""One comparison from its first to its last measurement."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from bench.comparators.gvisor import gvisor, gvisor_lean
from bench.comparators.processes import bare_python, bubblewrap
from bench.findings import Compared
from bench.languages.findings import language_tables
from bench.languages.part import measure_languages
from bench.languages.results import FILE, keep_languages
from bench.reports.markdown import write_report
from emberbox.bench.report import print_findings, progress
from emberbox.bench.session import Session, plain_settings
from emberbox.config import load_settings
from emberbox.runtimes import discover, runtime_folders

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.options import ComparedOptions
    from emberbox.config import Settings

COMPARATORS = (
    ("gvisor", gvisor),
    ("gvisor", gvisor_lean),
    ("process", bubblewrap),
    ("process", bare_python),
)
"""What is measured in turns with Emberbox, by the name of its measurement."""


def run(options: ComparedOptions, *, json: bool, output: Path) -> int:
    """Measure, print the report and write it; returns the exit code, 0.

    An interrupt ends it with nothing left behind. Blocks for up to twelve minutes, and half a
    minute more for each language.

    Args:
        options: What to measure.
        json: Print JSON, and nothing else.
        output: Folder of latest.json, latest.md and languages.json, made when missing.

    Raises:
        UnknownRuntime: `options.languages` names a runtime that there is not.
        EmberboxError: No VM can be made here.
    """
    settings = options.settings or load_settings()
    catalog = discover(runtime_folders(settings.data, settings.runtimes))
    for name in options.languages:
        catalog.get(name)  # a name that is none is told before anything is measured
    findings = asyncio.run(measure(options, settings, progress(json=json)))
    if findings.languages is not None:
        keep_languages(findings, findings.languages, output)
    languages_alone = options.chosen == {"languages"}
    if not languages_alone:
        write_report(findings, output)
    print_findings(findings, json=json, more=language_tables(findings.languages))
    if not json:
        names = FILE if languages_alone else "latest.json and latest.md"
        sys.stdout.write(f"\nwritten to {output}/{names}\n")
    return 0


async def measure(options: ComparedOptions, settings: Settings, say: Callable[[str], None]) -> Compared:
    """Measure Emberbox and what it is compared to in turns, then the languages."""
    begun = time.monotonic()
    session = Session(options, say, Compared, COMPARATORS)
    findings = await session.run()
    languages = partial(
        measure_languages,
        plain_settings(settings),
        quick=options.quick,
        only=options.languages,
        say=say,
        skipped=findings.skipped,
    )
    await session.attempt(findings, "languages", languages)
    findings.duration_s = time.monotonic() - begun
    return findings
