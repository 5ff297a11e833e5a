"""How many ready sandboxes are worth keeping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emberbox.sandbox.templates.demand import Demand


def test_no_demand_keeps_the_minimum() -> None:
    assert Demand(10).target(0, 0, 5) == 0
    assert Demand(10).target(0, 2, 5) == 2


def test_the_worst_moment_counts_and_is_forgotten() -> None:
    demand = Demand(10)
    for moment in (0.0, 0.1, 0.2, 0.3, 5.0):
        demand.claim(moment)
    assert demand.target(5, 0, 100) == 6
    assert (
        demand.target(10.25, 0, 100) == 3
    )  # 0.3 and 5.0 are left, in different moments: one claim and a quarter, and one
    assert demand.target(16, 0, 100) == 0


@given(st.lists(st.floats(0, 100), max_size=50), st.integers(0, 5), st.integers(5, 20))
def test_the_bounds_hold(moments: list[float], minimum: int, maximum: int) -> None:
    demand = Demand(30)
    for moment in sorted(moments):
        demand.claim(moment)
    assert minimum <= demand.target(100, minimum, maximum) <= maximum
