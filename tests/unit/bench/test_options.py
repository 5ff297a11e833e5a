"""What may be asked of a benchmark."""

from __future__ import annotations

import pytest

from emberbox.bench.options import MEASUREMENTS, BenchOptions
from emberbox.errors import InvalidInput


def test_all_is_measured_unless_something_is_named() -> None:
    assert BenchOptions().chosen == frozenset(MEASUREMENTS.values())


@pytest.mark.parametrize("only", [("b,h",), ("b", "h"), ("clone,burst",), (" B , Burst ",), ("b,clone,h",)])
def test_letters_and_names_are_taken(only: tuple[str, ...]) -> None:
    assert BenchOptions(only=only).chosen == {"clone", "burst"}


def test_what_cannot_be_measured_is_refused_with_the_choice() -> None:
    with pytest.raises(InvalidInput, match=r"'z' cannot be measured.*a or cold"):
        BenchOptions(only=("b,z",))


def test_quick_takes_fewer_samples() -> None:
    assert (BenchOptions().samples, BenchOptions(quick=True).samples) == (30, 5)
