"""Turns: in rotating order, bounded, with failures counted and everything closed."""

from __future__ import annotations

from emberbox.bench.latency import FAILURES, take_turns
from emberbox.bench.samplers.base import BenchError, Unavailable
from emberbox.errors import VmmDied

from .fakes import FakeSampler


def quiet(_: str) -> None:
    pass


async def test_turns_are_taken_in_rotating_order() -> None:
    log: list[str] = []
    samplers = [FakeSampler(name, [1.0], log) for name in "abc"]
    series, skipped = await take_turns(samplers, 3, budget_s=60, say=quiet)
    assert log[:3] == ["open a", "open b", "open c"]
    assert log[3:12] == [*"abc", *"bca", *"cab"]
    assert log[12:] == ["close a", "close b", "close c"]
    assert [one.samples for one in series] == [[1.0] * 3] * 3
    assert skipped == {}


async def test_what_cannot_be_opened_is_skipped_with_its_reason() -> None:
    log: list[str] = []
    samplers = [FakeSampler("a", [1.0], log, Unavailable("not installed")), FakeSampler("b", [2.0], log)]
    series, skipped = await take_turns(samplers, 2, budget_s=60, say=quiet)
    assert [one.name for one in series] == ["b"]
    assert skipped == {"a": "not installed"}
    assert log.count("a") == 0
    assert "close a" in log


async def test_failures_are_kept_beside_the_samples() -> None:
    sampler = FakeSampler("a", [1.0, BenchError("wrong output"), 3.0, VmmDied("gone")], [])
    series, _ = await take_turns([sampler], 4, budget_s=60, say=quiet)
    assert series[0].samples == [1.0, 3.0]
    assert series[0].failures == ["wrong output", "gone"]


async def test_failures_in_a_row_end_a_measurement_but_not_the_others() -> None:
    log: list[str] = []
    broken = FakeSampler("a", [BenchError("broken")], log)
    series, skipped = await take_turns([broken, FakeSampler("b", [1.0], log)], 10, budget_s=60, say=quiet)
    assert log.count("a") == FAILURES
    assert skipped == {"a": "broken"}
    assert len(series[0].samples) == 10


async def test_no_round_begins_after_the_budget() -> None:
    said: list[str] = []
    series, skipped = await take_turns([FakeSampler("a", [1.0], [])], 5, budget_s=-1, say=said.append)
    assert (series, skipped) == ([], {"a": "no time was left"})
    assert said[-1] == "stopped after 0 of 5 rounds"
