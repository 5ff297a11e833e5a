from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import VmmError
from emberbox.vmm.firecracker.requests.answers import BalloonStatistics, state_of
from tests.peers.description import Description, find

INSTANCE = {"id": "m1", "state": "Running", "vmm_version": "1.16.1"}
BALLOON = {"actual_mib": 0}
PARSERS = [state_of, BalloonStatistics.parse]
NO_ANSWERS: tuple[Any, ...] = (None, [], "text", 7, {}, {"id": []})
NO_TEXTS: tuple[Any, ...] = (None, 7, "a\nb", "a" * 257, [], "\x1b[2J")
NO_NUMBERS: tuple[Any, ...] = (-1, 1.0, "1", True, 2**64, {})
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def test_what_a_later_release_adds_is_passed_over() -> None:
    assert state_of({**INSTANCE, "mood": {}}) == "Running"
    assert BalloonStatistics.parse({**BALLOON, "mood": []}).actual_mib == 0


def test_what_the_guest_does_not_tell_is_none() -> None:
    statistics = BalloonStatistics.parse({**BALLOON, "free_memory": 2**40, "available_memory": None})
    assert (statistics.free_memory, statistics.available_memory) == (2**40, None)


@pytest.mark.parametrize(
    ("parse", "answer"),
    [
        *((parse, wrong) for parse in PARSERS for wrong in NO_ANSWERS),
        *((state_of, {**INSTANCE, "state": wrong}) for wrong in (*NO_TEXTS, "running")),
        *(
            (BalloonStatistics.parse, {**BALLOON, name: wrong})
            for name in (*BALLOON, "free_memory", "available_memory")
            for wrong in NO_NUMBERS
        ),
        *((BalloonStatistics.parse, {**BALLOON, name: None}) for name in BALLOON),
    ],
)
def test_what_is_not_as_described_is_refused(parse: Any, answer: object) -> None:
    with pytest.raises(VmmError) as caught:
        parse(answer)
    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()


@given(st.sampled_from(PARSERS), _JSON)
def test_nothing_else_than_our_error_comes_of_anything(parse: Any, answer: object) -> None:
    with pytest.raises(VmmError):
        parse(answer)


def test_the_fields_are_described() -> None:
    if (file := find()) is None:
        pytest.skip("Firecracker's API description is not here")
    described = Description.load(file).definitions
    assert set(BalloonStatistics.__slots__) <= set(described["BalloonStats"]["properties"])
    assert set(described["InstanceInfo"]["properties"]["state"]["enum"]) == {
        "Not started",
        "Running",
        "Paused",
    }
