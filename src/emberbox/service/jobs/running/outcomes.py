"""What became of an attempt, in the words of a job: status, reason, figures, log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from emberbox.errors import QuotaExceeded
from emberbox.model import CompileResult, PackagesResult, RunMetrics, RunResult, RunStatus
from emberbox.service.jobs.running.endings import Outcome, StoredLog, cancelled

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.errors import CompileFailed, EmberboxError, PackagesFailed
    from emberbox.service.jobs.running.artifacts import Collected
    from emberbox.service.jobs.running.live import LiveJob

Put = Callable[[str, "Path"], Awaitable[object]]
"""Stores a file under a key. Raises `NoSpace` or `BlobError`."""

_STATUS = {
    RunStatus.SUCCEEDED: ("succeeded", "exited"),
    RunStatus.TIMED_OUT: ("timed_out", "timeout"),
    RunStatus.CANCELLED: ("cancelled", "cancelled"),
    RunStatus.CPU_LIMIT: ("failed", "cpu_limit"),
    RunStatus.OUT_OF_MEMORY: ("failed", "out_of_memory"),
    RunStatus.OUTPUT_LIMIT: ("failed", "output_limit"),
    RunStatus.START_FAILED: ("failed", "start_failed"),
    RunStatus.VM_DIED: ("failed", "vm_died"),
}


async def ended(put: Put, live: LiveJob, result: RunResult, collected: Collected, ended_at: int) -> Outcome:
    """Return the end of an attempt whose program ran, its log stored. Raises `NoSpace` or `BlobError`.

    `ended_at` is when the program ended, in µs since the epoch.
    """
    exited = "signalled" if result.signal is not None else "exited"
    status, reason = _STATUS.get(result.status, ("failed", exited))
    log, note = await _stored(put, live)
    return Outcome(
        status=status,
        reason=reason,
        message="; ".join(filter(None, [result.message, *collected.notes, note])) or None,
        exit_code=result.exit_code,
        signal=result.signal,
        started_at=live.started_at,
        ended_at=ended_at,
        metrics=_metrics(live, result.metrics, result.compile, result.packages),
        log=log,
        stdout_bytes=live.log.written["stdout"],
        stderr_bytes=live.log.written["stderr"],
        artifacts=tuple(collected.records),
        compile=None if result.compile is None else result.compile.to_dict(),
    )


async def not_compiled(put: Put, live: LiveJob, error: CompileFailed) -> Outcome:
    """Return the end of a job without a program. What its compiler said is its log, on standard error."""
    compiled: CompileResult = error.result
    live.log.append("stderr", compiled.stdout_data + compiled.stderr_data)
    exited = "signalled" if compiled.exit_code is None else "exited"
    log, note = await _stored(put, live)
    return Outcome(
        # A VM's death is nobody's verdict on the source.
        status="failed" if compiled.reason == "vm_died" else "compile_failed",
        reason={"failed": exited, "timed_out": "timeout"}.get(compiled.reason, compiled.reason),
        message="; ".join(filter(None, [error.message, note])),
        metrics=_metrics(live, error.metrics, compiled),
        log=log,
        stderr_bytes=live.log.written["stderr"],
        compile=compiled.to_dict(),
    )


async def without_packages(put: Put, live: LiveJob, error: PackagesFailed) -> Outcome:
    """Return the end of a job without its packages.

    Its log is the package tool's output, on standard error.
    """
    live.log.append("stderr", error.result.output_data)
    log, note = await _stored(put, live)
    return Outcome(
        status="failed",
        reason="packages_failed",
        message="; ".join(filter(None, [error.message, note])),
        log=log,
        stderr_bytes=live.log.written["stderr"],
    )


async def cut_off(put: Put, live: LiveJob) -> Outcome:
    """Return the end of a job that was cancelled and has no result, with what there is of its log."""
    log, _ = await _stored(put, live, whole=False)
    return replace(cancelled(), log=log)


def refused(reason: str, error: EmberboxError) -> Outcome:
    """Return the end of a job that cannot be run as it is."""
    return Outcome(status="failed", reason=reason, message=error.message)


async def _stored(put: Put, live: LiveJob, *, whole: bool = True) -> tuple[StoredLog, str | None]:
    """Put a log where it stays; with `whole`, only if no part of it is missing.

    Raises `NoSpace` or `BlobError`.

    Returns:
        Where it lies, and why nothing of it is kept; None where all of it is.
    """
    log, job = live.log, live.job
    log.finish()
    if whole:
        log.check()
    small = log.data is not None
    heads = {} if small else {stream: bytes(head) for stream, head in log.heads.items()}
    key = None if small else f"logs/{job.id}/{job.attempt}"
    stored = StoredLog(size=log.size, data=log.data, key=key, **heads)
    await live.room.look()
    try:
        live.room.keep(live.room.kept + stored.stored_bytes)
    except QuotaExceeded as error:
        return StoredLog(), f"its output is not kept: {error.message}"
    if key is not None:
        await put(key, log.path)
    return stored, None


def _metrics(
    live: LiveJob,
    metrics: RunMetrics,
    compiled: CompileResult | None,
    packages: PackagesResult | None = None,
) -> dict[str, Any]:
    measured = {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(metrics).items()
    }
    if compiled is not None:
        measured |= {"compile_ms": round(compiled.wall_ms, 3), "compile_cpu_ms": round(compiled.cpu_ms, 3)}
    if packages is not None:
        measured["packages_ms"] = round(packages.wall_ms, 3)
    job = live.job
    waited = ((job.claimed_at or job.created_at) - job.created_at) / 1000
    return {
        **measured,
        "wait_ms": round(waited, 3),
        "total_ms": round((time.perf_counter() - live.begun_s) * 1000, 3),
    }
