"""The account of an attack: each way in which a job can be lost is a fault."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attack.load import JobAccount
from tests.attack.reports import Report


def account(
    *outcomes: str, status: str = "succeeded", reason: str | None = None, whole: bool = True
) -> JobAccount:
    attempts = [{"outcome": outcome, "message": None} for outcome in outcomes]
    job: dict[str, Any] = {"status": status, "reason": reason, "message": None, "attempts": attempts}
    return JobAccount("job_a", "token-0", job, whole)


def report(*jobs: JobAccount, accepted: set[str] | None = None) -> Report:
    return Report(what="x", seed=1, jobs=list(jobs), accepted={"job_a"} if accepted is None else accepted)


def test_a_job_that_was_cut_short_and_then_succeeded_is_none() -> None:
    assert report(account("interrupted", "interrupted", "succeeded")).faults() == []


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (report(), "was accepted and is not there"),
        (report(account("succeeded"), accepted=set()), "was never asked for"),
        (report(account("failed", status="failed", reason="exit_code")), "failed"),
        (report(account("succeeded", whole=False)), "not whole"),
        (report(account("succeeded", "succeeded")), "exactly once"),
        (report(account("lost", "succeeded")), "a loss was counted"),
    ],
)
def test_what_is_a_fault(of: Report, told: str) -> None:
    (fault,) = of.faults()
    assert told in fault


def test_what_is_left_on_the_host_is_a_fault() -> None:
    of = report(account("succeeded"))
    of.left.append("VMM 1 lives")
    assert of.faults() == ["VMM 1 lives"]


def test_what_the_attack_does_itself_is_none() -> None:
    of = report(account("timed_out", status="timed_out", reason="timeout"))
    assert of.faults()
    of.own_doing = frozenset({("timed_out", "timeout")})
    assert of.faults() == []
