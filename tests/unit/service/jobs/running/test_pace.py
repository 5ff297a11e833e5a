"""How soon a worker takes further jobs."""

from __future__ import annotations

import pytest

from emberbox.service.jobs.running import pace as pace_module
from emberbox.service.jobs.running.pace import PAUSES, Pace


class Clock:
    """A clock that a test sets."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


def test_pauses_grow_to_their_bound_and_end_with_a_success(clock: Clock) -> None:
    pace = Pace()
    assert pace.pause_s == 0
    seen = []
    for _ in range(9):
        pace.hinder()
        seen.append(pace.pause_s)
        clock.now_s += pace.pause_s
        assert pace.pause_s == 0
    assert seen == [PAUSES.pause_s(number) for number in range(1, 10)]
    assert seen[-1] == PAUSES.longest_s
    pace.hinder()
    pace.ease()
    assert pace.pause_s == 0
    pace.hinder()
    assert pace.pause_s == PAUSES.first_s


def test_jobs_that_fail_together_fail_once(clock: Clock) -> None:
    pace = Pace()
    for _ in range(16):
        pace.hinder()
    assert pace.pause_s == PAUSES.first_s
    clock.now_s += PAUSES.first_s
    pace.hinder()
    assert pace.pause_s == PAUSES.pause_s(2)
