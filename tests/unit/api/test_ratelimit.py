from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.api.ratelimit import Limiter, address_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), max_size=200), st.floats(0.5, 20), st.integers(1, 30))
def test_never_more_than_burst_and_rate_allow(pauses: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    granted = 0
    for pause in pauses:
        clock.now += pause
        granted += limiter.take("k", rate, burst).granted
    assert granted <= burst + sum(pauses[1:]) * rate + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 20), st.integers(0, 40))
def test_waiting_as_long_as_was_said_is_enough_and_less_is_not(rate: float, burst: int, tries: int) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    for _ in range(burst + tries):
        allowance = limiter.take("k", rate, burst)
    assert allowance.wait_s > 0
    clock.now += allowance.wait_s * 0.9
    assert not limiter.take("k", rate, burst).granted
    clock.now += allowance.wait_s * 0.1 + 1e-6
    assert limiter.take("k", rate, burst).granted


def test_buckets_are_apart_and_bounded() -> None:
    clock = Clock()
    limiter = Limiter(clock, buckets=3)
    assert limiter.take("a", 1, 1).granted
    assert limiter.take("b", 1, 1).granted
    assert not limiter.take("a", 1, 1).granted
    for number in range(100):
        limiter.take(f"other {number}", 1, 1)
    assert len(limiter) == 3


def test_the_headers_are_structured_fields() -> None:
    limiter = Limiter(Clock())
    assert limiter.take("k", 10, 25).headers == [
        (b"ratelimit-policy", b'"requests";q=25;w=3'),
        (b"ratelimit", b'"requests";r=24;t=1'),
    ]


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("10.1.2.3", 80), "10.1.2.3"),
        (("2001:db8:1:2:3:4:5:6", 80), "2001:db8:1:2::"),
        (("::ffff:10.1.2.3", 80), "::ffff:a01:203"),
        (None, "local"),
        (("/run/socket", 0), "/run/socket"),
    ],
)
def test_addresses(client: tuple[str, int] | None, name: str) -> None:
    assert address_of({"client": client}) == name
