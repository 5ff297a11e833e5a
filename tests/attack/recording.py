"""A plugin of pytest that writes down what became of each test: one line of JSON each, at once.

What is written stays where the run is ended from outside.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.attack.verdicts import Outcome

if TYPE_CHECKING:
    import pytest

_PREFIX = "tests/"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where to."""
    parser.addoption("--attack-results", required=True, help="File that takes the outcomes.")


class Recorder:
    """Puts the three phases of a test together.

    Args:
        file: Where outcomes are added.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._phases: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a phase; write the outcome down after the last one."""
        self._phases.append(report)
        if report.when != "teardown":
            return
        phases, self._phases = self._phases, []
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(outcome_of(phases))) + "\n")


def outcome_of(phases: list[pytest.TestReport]) -> Outcome:
    """Return what became of a test: the worst of its phases."""
    names = [phase.outcome for phase in phases]
    worst = next((name for name in ("failed", "skipped") if name in names), "passed")
    return Outcome(
        test=phases[0].nodeid.removeprefix(_PREFIX),
        outcome=worst,
        seconds=sum(phase.duration for phase in phases),
        told="\n".join(_told(phase) for phase in phases if phase.outcome == worst != "passed"),
        figures=dict(phases[-1].user_properties),
    )


def _told(phase: pytest.TestReport) -> str:
    return str(phase.longrepr[2]) if isinstance(phase.longrepr, tuple) else phase.longreprtext


def read(file: Path) -> list[Outcome]:
    """Return the outcomes in a file; none where it does not exist."""
    lines: list[Any] = []
    if file.exists():
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Outcome(**line) for line in lines]


def pytest_configure(config: pytest.Config) -> None:
    """Begin to write."""
    config.pluginmanager.register(Recorder(Path(config.getoption("--attack-results"))), "attack-recorder")
