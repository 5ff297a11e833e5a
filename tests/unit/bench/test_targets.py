"""Targets are judged by measured values alone."""

from __future__ import annotations

import pytest

from .fakes import some_findings

GOOD = {"cold": 2000.0, "clone": 120.0, "pool": 14.0, "gvisor": 240.0, "gvisor_lean": 200.0, "command": 360.0}


def test_each_target_is_judged() -> None:
    judged = [target.met for target in some_findings(GOOD).targets]
    assert judged[:8] == [True, True, True, True, True, False, True, True]  # the larger sandbox has 41 MiB
    assert judged[8:] == [True] * 8


@pytest.mark.parametrize(
    ("name", "value", "broken"),
    [("clone", 141.0, 0), ("cold", 1199.0, 1), ("pool", 15.1, 2), ("gvisor_lean", 139.0, 3), ("command", 370.1, 7)],
)
def test_a_target_that_is_just_missed_is_not_met(name: str, value: float, broken: int) -> None:
    findings = some_findings({**GOOD, name: value})
    assert findings.targets[broken].met is False


def test_gvisor_counts_by_its_faster_row() -> None:
    slower = some_findings({**GOOD, "gvisor": 300.0}).targets[0].measured
    faster = some_findings({**GOOD, "gvisor": 100.0}).targets[0].measured
    assert slower == pytest.approx(120 / 200)
    assert faster == pytest.approx(120 / 100)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {target.met for target in some_findings({}, whole=False).targets} == {None}


def test_lost_requests_miss_the_target() -> None:
    findings = some_findings(GOOD)
    assert findings.burst is not None
    findings.burst.latencies.pop()
    assert findings.targets[6].met is False
