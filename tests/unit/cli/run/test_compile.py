"""What `emberbox run` says of a compile stage."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.cli import exit_codes
from emberbox.cli.run.options import RunLine
from emberbox.cli.run.run import _not_compiled, _tell
from emberbox.cli.run.times import table
from emberbox.errors import CompileFailed
from emberbox.model import CompileResult, RunMetrics, RunResult, RunStatus
from emberbox.schemas.jobs import Job, JobStatus

if TYPE_CHECKING:
    from typing import Any

    import pytest

FAILED = CompileResult(
    ok=False,
    reason="failed",
    exit_code=1,
    stdout_data=b"note\n",
    stderr_data=b"main.c:3: error\n",
    message="compile failed: the compiler ended with exit code 1",
    wall_ms=42.0,
)


def failed(**changes: Any) -> CompileFailed:
    return CompileFailed(replace(FAILED, **changes), RunMetrics(boot_ms=1, total_ms=50, source="clone"))


async def test_the_compilers_words_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    result = await _not_compiled(RunLine(), failed())
    assert _tell(RunLine(), result) == 65
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "note\nmain.c:3: error\nemberbox: compile failed: the compiler ended with exit code 1\n"


async def test_as_json_they_are_in_the_result_alone(capfd: pytest.CaptureFixture[str]) -> None:
    options = RunLine(json=True)
    assert _tell(options, await _not_compiled(options, failed())) == 65
    out, err = capfd.readouterr()
    told = json.loads(out)
    assert (told["status"], told["compile"]["stderr"], told["compile"]["exit_code"], err) == (
        "compile_failed",
        "main.c:3: error\n",
        1,
        "",
    )


async def test_a_vm_that_died_is_no_verdict() -> None:
    result = await _not_compiled(RunLine(json=True), failed(reason="vm_died"))
    assert (result.status, exit_codes.of_result(result)) == (RunStatus.VM_DIED, 70)


def test_a_job_that_does_not_compile_has_a_code_of_its_own() -> None:
    job = Job.model_construct(status=JobStatus.COMPILE_FAILED, reason=None, signal=None, exit_code=None)
    assert exit_codes.of_job(job) == exit_codes.of_result(RunResult(status=RunStatus.COMPILE_FAILED)) == 65


def test_the_table_of_times() -> None:
    metrics = RunMetrics(boot_ms=10, run_ms=20, total_ms=100, source="clone")
    made = CompileResult(ok=True, reason="compiled", wall_ms=60, cpu_ms=55, peak_memory_mib=12)
    assert "compile       60.0 ms  compiled: CPU 55 ms, 12.0 MiB at its peak" in table(metrics, made)
    assert "transfer      10.0 ms" in table(metrics, made)
    assert "compile        5.0 ms  cached" in table(
        metrics, CompileResult(ok=True, reason="cached", wall_ms=5)
    )
    assert "compile" not in table(metrics)
