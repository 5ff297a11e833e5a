"""Benchmarks of Emberbox on the machine that they run on: `emberbox bench`.

Latencies are taken in turns, each with at least 30 samples; what is said about targets comes from
the measured values alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.bench.options import BenchOptions

__all__ = ["run"]


def run(options: BenchOptions, *, json: bool = False, output: Path | None = None) -> int:
    """Measure and print the report; returns the exit code, 0. An interrupt leaves nothing behind.

    Blocks for up to ten minutes.

    Args:
        options: What to measure.
        json: Print JSON, and nothing else.
        output: Folder in which the JSON is kept as latest.json, made when missing; None to keep none.

    Raises:
        EmberboxError: No VM can be made here.
    """
    import asyncio

    from emberbox.bench.findings import Findings
    from emberbox.bench.report import keep_json, print_findings, progress
    from emberbox.bench.session import Session

    findings = asyncio.run(Session(options, progress(json=json), Findings).run())
    if output is not None:
        keep_json(findings, output)
    print_findings(findings, json=json)
    return 0
