from __future__ import annotations

import pytest

from emberbox import errors
from emberbox.cli import exit_codes
from emberbox.model import RunResult, RunStatus


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (RunResult(status=RunStatus.SUCCEEDED, exit_code=0), 0),
        (RunResult(status=RunStatus.FAILED, exit_code=42), 42),
        (RunResult(status=RunStatus.FAILED, signal=11), 139),
        (RunResult(status=RunStatus.TIMED_OUT, signal=9), 124),
        (RunResult(status=RunStatus.CPU_LIMIT, signal=9), 124),
        (RunResult(status=RunStatus.OUTPUT_LIMIT, signal=9), 125),
        (RunResult(status=RunStatus.START_FAILED), 127),
        (RunResult(status=RunStatus.CANCELLED, signal=9), 130),
        (RunResult(status=RunStatus.OUT_OF_MEMORY, signal=9), 137),
        (RunResult(status=RunStatus.VM_DIED), 70),
        (RunResult(status=RunStatus.FAILED), 70),
    ],
)
def test_results(result: RunResult, expected: int) -> None:
    assert exit_codes.of_result(result) == expected


def test_every_status_is_told() -> None:
    told = {
        status for status in RunStatus if exit_codes.of_result(RunResult(status=status, exit_code=5)) != 5
    }
    assert told == set(RunStatus) - {RunStatus.FAILED}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.InvalidInput("x"), 2),
        (errors.UnknownRuntime("x"), 2),
        (errors.InvalidSettings("x"), 2),
        (errors.RequirementMissing("x"), 69),
        (errors.NoSpace("x"), 70),
        (errors.VmmStartFailed("x"), 70),
        (ValueError("x"), 70),
    ],
)
def test_errors(error: Exception, expected: int) -> None:
    assert exit_codes.of_error(error) == expected
