"""What became of each row, told by the tests that ran."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tests.attack.rows import Row, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Verdict(StrEnum):
    """What became of a row."""

    HELD = "held"
    FELL = "**fell**"
    PROVES_NOTHING = "**proves nothing**"
    """It held, but the same attack also failed where there is no defence."""
    NOT_TRIED = "not tried"
    """The tests were skipped, as on a host that lacks what they need, or did not run in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one test.

    Args:
        test: Its node id below `tests/`.
        outcome: `passed`, `failed` or `skipped`.
        seconds: How long it took, with what it was set up with.
        told: Why it failed or was skipped; empty where it passed.
        figures: What it measured, by name.
    """

    test: str
    outcome: str
    seconds: float
    told: str
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A row, its verdict, and the outcomes that it rests on."""

    row: Row
    verdict: Verdict
    tests: tuple[Outcome, ...]
    control: tuple[Outcome, ...]


def judge(row: Row, outcomes: Iterable[Outcome]) -> Judged:
    """Return what became of a row.

    It held where each of its tests has run and passed, and each of its controls too. A part of a
    test's parameters may be skipped, but not all of them.
    """
    ran = list(outcomes)
    tests, control = _of(row.tests, ran), _of(row.control, ran)
    verdict = Verdict.HELD
    if any(one.outcome == "failed" for one in tests):
        verdict = Verdict.FELL
    elif any(one.outcome == "failed" for one in control):
        verdict = Verdict.PROVES_NOTHING
    elif not all(_passed(test, ran) for test in (*row.tests, *row.control)):
        verdict = Verdict.NOT_TRIED
    return Judged(row=row, verdict=verdict, tests=tests, control=control)


def _of(tests: Sequence[str], ran: Sequence[Outcome]) -> tuple[Outcome, ...]:
    return tuple(one for one in ran if any(matches(one.test, test) for test in tests))


def _passed(test: str, ran: Sequence[Outcome]) -> bool:
    return any(one.outcome == "passed" for one in _of((test,), ran))
