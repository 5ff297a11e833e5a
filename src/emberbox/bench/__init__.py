"""Benchmarks of the machine that they run on: `emberbox bench`.

Latencies are taken in turns, each with at least 30 samples; what is said about targets comes from the measured values alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emberbox.bench.options import BenchOptions

__all__ = ["main", "run"]


def run(options: BenchOptions | None = None, **values: Any) -> int:
    """Measure, print the report and write it; returns the exit code, 0.

    Args:
        options: What to measure; None makes them from `values`.
        **values: Fields of `BenchOptions`; `output=None` stands for the usual folder.

    Raises:
        InvalidInput: `only` names something that cannot be measured.
        UnknownRuntime: `languages` names a runtime that there is not.
        EmberboxError: No VM can be made here.
    """
    from emberbox.bench.options import BenchOptions

    return main(options or BenchOptions(**{name: value for name, value in values.items() if value is not None}))


def main(options: BenchOptions) -> int:
    """Measure, print and write. An interrupt ends it with nothing left behind.

    Blocks for up to twelve minutes, and half a minute more for each language.
    """
    import asyncio
    import json
    import sys

    from rich.console import Console

    from emberbox.bench.report import print_report, write, write_languages
    from emberbox.bench.session import Session

    def say(line: str) -> None:
        if not options.json:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    findings = asyncio.run(Session(options, say).run())
    if findings.languages is not None:
        write_languages(findings, options.output)
    if options.chosen != {"languages"}:
        write(findings, options.output)
    if options.json:
        sys.stdout.write(json.dumps(findings.to_dict(), indent=2) + "\n")
    else:
        width = None if sys.stdout.isatty() else 160
        print_report(findings, Console(markup=False, highlight=False, emoji=False, width=width))
        names = "languages.json" if options.chosen == {"languages"} else "latest.json and latest.md"
        sys.stdout.write(f"\nwritten to {options.output}/{names}\n")
    return 0
