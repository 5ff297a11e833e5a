"""Targets are judged by measured values alone."""

from __future__ import annotations

import pytest

from .fakes import some_findings

GOOD = {"cold": 2000.0, "clone": 120.0, "pool": 14.0, "command": 360.0}


def test_each_target_is_judged() -> None:
    judged = [target.met for target in some_findings(GOOD).targets]
    assert judged[:6] == [True, True, True, False, True, True]  # the larger sandbox has 41 MiB
    assert judged[6:] == [True] * 8


@pytest.mark.parametrize(
    ("name", "value", "broken"),
    [
        ("cold", 1199.0, 0),
        ("pool", 15.1, 1),
        ("command", 370.1, 5),
    ],
)
def test_a_target_that_is_just_missed_is_not_met(name: str, value: float, broken: int) -> None:
    findings = some_findings({**GOOD, name: value})
    assert findings.targets[broken].met is False


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {target.met for target in some_findings({}, whole=False).targets} == {None}


def test_lost_requests_miss_the_target() -> None:
    findings = some_findings(GOOD)
    assert findings.burst is not None
    findings.burst.latencies.pop()
    assert findings.targets[4].met is False
