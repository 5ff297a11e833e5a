"""What comes too fast is paused for, and a quiet time is made up for up to a bound."""

from __future__ import annotations

from emberbox.net.pace import Pace


def test_what_comes_beyond_the_first_burst_is_paused_for() -> None:
    pace = Pace(10, 20, clock=lambda: 0.0)
    assert [pace.pause_s(units) for units in (15, 5, 5, 10)] == [0, 0, 0.5, 1.5]


def test_what_is_read_after_its_pauses_comes_at_the_rate() -> None:
    now = 0.0
    pace = Pace(10, 20, clock=lambda: now)
    for _ in range(50):
        now += pace.pause_s(8)
    assert abs(now - (50 * 8 - 20) / 10) < 1e-6


def test_a_quiet_time_fills_it_up_to_what_may_come_at_once() -> None:
    now = 0.0
    pace = Pace(10, 20, clock=lambda: now)
    assert pace.pause_s(20) == 0
    now = 1000.0
    assert (pace.pause_s(20), pace.pause_s(1)) == (0, 0.1)
