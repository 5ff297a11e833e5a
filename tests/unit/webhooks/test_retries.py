"""Pauses between attempts stay within their bounds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.config import WebhookSettings
from emberbox.jobs.webhooks.retries import pause_s, retry_after_s

SETTINGS = WebhookSettings(retry_s=5.0, retry_max_s=60.0)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_pause_lies_between_zero_and_the_doubled_bound(attempt: int, chance: float) -> None:
    pause = pause_s(SETTINGS, attempt, chance=lambda: chance)
    assert 0 <= pause <= min(60.0, 5.0 * 2 ** min(attempt - 1, 20))


def test_the_bound_doubles_up_to_the_longest() -> None:
    assert [pause_s(SETTINGS, attempt, chance=lambda: 1.0) for attempt in range(1, 7)] == [5, 10, 20, 40, 60, 60]


def test_the_whole_span_is_used() -> None:
    pauses = [pause_s(SETTINGS, 3) for _ in range(500)]
    assert min(pauses) < 4
    assert max(pauses) > 16
    assert len(set(pauses)) > 400


@given(st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
def test_what_the_receiver_asks_for_is_kept_within_the_bound(asked: float, chance: float) -> None:
    pause = pause_s(SETTINGS, 1, retry_after_s=asked, chance=lambda: chance)
    assert min(asked, 60.0) <= pause <= max(5.0, min(asked, 60.0))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0), (" 0 ", 0.0), ("999999999", 999999999.0), ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0), ("", None),
        ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0), ("soon", None), ("-1", None), ("1.5", None), ("9" * 10, None), ("１２", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, now=datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == seconds


@given(st.text(max_size=80))
def test_no_retry_after_makes_it_raise(value: str) -> None:
    found = retry_after_s(value)
    assert found is None or found >= 0
