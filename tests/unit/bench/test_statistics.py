"""Percentiles and series."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.bench.statistics import Series, Summary, percentile


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.5),
        ([1.0, 2.0, 3.0, 4.0], 0, 1.0),
        ([1.0, 2.0, 3.0, 4.0], 100, 4.0),
        ([float(n) for n in range(101)], 95, 95.0),
        ([0.0, 10.0], 99, 9.9),
    ],
)
def test_percentiles_lie_between_the_two_nearest_samples(
    samples: list[float], percent: float, expected: float
) -> None:
    assert percentile(samples, percent) == pytest.approx(expected)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


@pytest.mark.parametrize("percent", [-0.1, 100.1])
def test_a_percent_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        percentile([1.0], percent)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_a_summary_is_in_order_and_within_its_samples(samples: list[float]) -> None:
    summary = Summary.of(samples)
    assert summary.n == len(samples)
    figures = [summary.minimum, summary.median, summary.p95, summary.p99, summary.maximum]
    for below, above in itertools.pairwise(figures):
        assert below <= above or below == pytest.approx(above)
    assert (summary.minimum, summary.maximum) == (min(samples), max(samples))


def test_a_series_keeps_its_samples_and_its_failures() -> None:
    series = Series(name="clone", label="clone", samples=[2.0, 1.0, 3.00049], failures=["gone"])
    assert series.to_dict() == {
        "name": "clone",
        "label": "clone",
        "unit": "ms",
        "note": "",
        "summary": {"n": 3, "median": 2.0, "p95": 2.9, "p99": 2.98, "minimum": 1.0, "maximum": 3.0},
        "failures": ["gone"],
        "samples": [2.0, 1.0, 3.0],
    }


def test_a_series_without_samples_has_no_summary() -> None:
    series = Series(name="clone", label="clone")
    assert (series.summary, series.median, series.to_dict()["summary"]) == (None, None, None)
