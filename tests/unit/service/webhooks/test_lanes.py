"""Shares: no destination and no team can take them all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emberbox.service.webhooks.lanes import Lanes
from emberbox.service.webhooks.outbox import Due


def due(lane: str, count: int, team: str = "t") -> list[Due]:
    return [Due(f"{lane}-{number}", lane, team) for number in range(count)]


def enter(lanes: Lanes, picked: list[Due]) -> None:
    for one in picked:
        lanes.enter(one.lane, one.team_id)


def test_a_team_gets_no_more_than_half_and_a_destination_half_of_that() -> None:
    lanes = Lanes(8)
    picked = lanes.pick(due("a", 3) + due("b", 20))
    assert [one.lane for one in picked] == ["a", "a", "b", "b"]
    enter(lanes, picked)
    assert lanes.full() == ({"a", "b"}, {"t"})
    others = lanes.pick(due("c", 5) + due("d", 5, team="other"))
    assert [one.id for one in others] == ["d-0", "d-1"]
    enter(lanes, others)
    assert lanes.full() == ({"a", "b", "d"}, {"t"})


def test_a_destination_that_failed_or_is_slow_gets_one_at_a_time_until_it_does_well() -> None:
    for good, took_s in ((False, 0.1), (True, 5.0)):
        lanes = Lanes(8)
        enter(lanes, lanes.pick(due("a", 1)))
        lanes.leave("a", "t", good=good, took_s=took_s)
        assert len(lanes.pick(due("a", 9))) == 1
        enter(lanes, due("a", 1))
        assert lanes.full() == ({"a"}, set())
        lanes.leave("a", "t", good=True, took_s=0.1)
        assert len(lanes.pick(due("a", 9))) == 2


def test_a_single_slot_goes_to_anyone() -> None:
    lanes = Lanes(1)
    picked = lanes.pick(due("a", 2))
    assert len(picked) == 1
    enter(lanes, picked)
    assert lanes.free == 0
    lanes.leave("a", "t", good=True, took_s=0)
    assert (lanes.free, lanes.full()) == (1, (set(), set()))


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.booleans()), max_size=60),
)
def test_shares_hold_whatever_comes(concurrency: int, steps: list[tuple[str, str, bool]]) -> None:
    lanes, running = Lanes(concurrency), list[Due]()
    for lane, team, good in steps:
        picked = lanes.pick(due(lane, 3, team))
        enter(lanes, picked)
        running += picked
        assert len(running) == concurrency - lanes.free <= concurrency
        assert sum(one.team_id == team for one in running) <= max(1, concurrency // 2)
        if good and running:
            ended = running.pop(0)
            lanes.leave(ended.lane, ended.team_id, good=good, took_s=0)
