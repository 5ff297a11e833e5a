"""Pauses between tries stay within their bounds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.net.backoff import Backoff, retry_after_s

DELIVERIES = Backoff(first_s=5.0, longest_s=60.0, jitter=1.0)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), CHANCES)
def test_the_pause_lies_between_zero_and_the_doubled_bound(failures: int, chance: float) -> None:
    pause = DELIVERIES.pause_s(failures, chance=lambda: chance)
    assert 0 <= pause <= min(60.0, 5.0 * 2 ** min(failures - 1, 20))


def test_the_bound_doubles_up_to_the_longest() -> None:
    pauses = [DELIVERIES.pause_s(failures, chance=lambda: 1.0) for failures in range(1, 7)]
    assert pauses == [5, 10, 20, 40, 60, 60]


def test_the_whole_span_is_used() -> None:
    pauses = [DELIVERIES.pause_s(3) for _ in range(500)]
    assert min(pauses) < 4
    assert max(pauses) > 16
    assert len(set(pauses)) > 400


def test_without_jitter_nothing_is_left_to_chance() -> None:
    schedule = Backoff(first_s=0.5, longest_s=15.0)
    assert [schedule.pause_s(failures) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]
    steady = Backoff(first_s=2, longest_s=9, factor=1)
    assert [steady.pause_s(failures) for failures in (1, 2, 99)] == [2, 2, 2]


@given(st.integers(1, 10), CHANCES, st.floats(0, 1))
def test_the_jitter_is_a_part_of_the_pause(failures: int, chance: float, jitter: float) -> None:
    whole = Backoff(first_s=1, longest_s=5).pause_s(failures)
    pause = Backoff(first_s=1, longest_s=5, jitter=jitter).pause_s(failures, chance=lambda: chance)
    assert whole * (1 - jitter) - 1e-9 <= pause <= whole


@given(st.floats(0, 1e9), CHANCES)
def test_the_pause_is_not_shorter_than_asked_for(asked: float, chance: float) -> None:
    pause = DELIVERIES.pause_s(1, asked_s=asked, chance=lambda: chance)
    assert asked <= pause <= max(5.0, asked)


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (3, 4), (-1, 1)])
def test_retries_end(retries: int, tries: int) -> None:
    schedule, failures = Backoff(first_s=1, longest_s=5, retries=retries), 1
    while schedule.next_s(failures) is not None:
        failures += 1
    assert failures == tries


@pytest.mark.parametrize(("left_s", "pause"), [(4.1, 4.0), (4.0, None), (0.0, None), (-1.0, None)])
def test_the_next_try_begins_within_the_time_that_is_left(left_s: float, pause: float | None) -> None:
    assert Backoff(first_s=1, longest_s=5).next_s(3, left_s=left_s) == pause
    assert Backoff(first_s=1, longest_s=5).next_s(3, asked_s=7, left_s=left_s) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999", 999999999.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("", None),
        ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 10, None),
        ("１２", None),
        ("nan", None),
        ("Wed, 21 Oct 2015", None),
        ("3", 3.0),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, now=datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == seconds


@given(st.text(max_size=80))
def test_no_retry_after_makes_it_raise(value: str) -> None:
    found = retry_after_s(value)
    assert found is None or found >= 0
