"""From what the agent says about a run to the result that the caller gets."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.model import MIB, Limits, RunMetrics, RunResult, RunStatus

if TYPE_CHECKING:
    from emberbox.guest import ExecOutcome


def result_of(outcome: ExecOutcome, limits: Limits, metrics: RunMetrics) -> RunResult:
    """Translate the agent's outcome; `metrics` holds the host's times, the outcome fills in the guest's."""
    if outcome.reason in ("exited", "signalled"):
        status = RunStatus.SUCCEEDED if outcome.exit_code == 0 else RunStatus.FAILED
    else:
        status = RunStatus(outcome.reason)
    return RunResult(
        status=status,
        stdout_data=outcome.stdout,
        stderr_data=outcome.stderr,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        message=_message(status, outcome, limits),
        stdout_bytes=outcome.stdout_bytes,
        stderr_bytes=outcome.stderr_bytes,
        left_files=outcome.output,
        metrics=replace(
            metrics,
            run_ms=outcome.wall_us / 1000,
            cpu_user_ms=outcome.cpu_user_us / 1000,
            cpu_system_ms=outcome.cpu_system_us / 1000,
            peak_memory_mib=outcome.peak_memory_bytes / MIB,
        ),
    )


def _message(status: RunStatus, outcome: ExecOutcome, limits: Limits) -> str | None:
    if status is RunStatus.TIMED_OUT:
        return f"killed after {limits.timeout_s:g} s, its limit of wall-clock time"
    if status is RunStatus.CPU_LIMIT:
        return f"killed after {limits.cpu_s:g} s of CPU time, its limit"
    if status is RunStatus.OUT_OF_MEMORY:
        bound = f"{limits.memory_mib} MiB" if limits.memory_mib else "what the VM has"
        return f"killed for using more memory than {bound}"
    if status is RunStatus.OUTPUT_LIMIT:
        return f"killed for writing more than {limits.output_bytes} bytes"
    if status is RunStatus.CANCELLED:
        return "cancelled by its caller"
    if status is RunStatus.START_FAILED:
        return outcome.message or "the program could not be started"
    if outcome.signal is not None:
        return f"ended by signal {outcome.signal} ({_signal_name(outcome.signal)})"
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
