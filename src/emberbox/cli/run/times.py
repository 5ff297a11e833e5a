"""The small table of `emberbox run --time`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.model import CompileResult, RunMetrics

_SOURCES = {
    "pool": "taken from the pool",
    "clone": "cloned from the template",
    "cold": "booted",
    "sandbox": "was there already",
}


def table(metrics: RunMetrics, compiled: CompileResult | None = None) -> str:
    """Return where the time went, as lines of text."""
    compile_ms = 0.0 if compiled is None else compiled.wall_ms
    rest = max(0.0, metrics.total_ms - metrics.queue_ms - metrics.boot_ms - metrics.run_ms - compile_ms)
    rows = [
        ("queue", metrics.queue_ms, "wait for a slot"),
        ("VM", metrics.boot_ms, _SOURCES[metrics.source]),
        *([] if compiled is None else [("compile", compile_ms, _compiled(compiled))]),
        (
            "program",
            metrics.run_ms,
            f"CPU {metrics.cpu_user_ms:.0f} ms user, {metrics.cpu_system_ms:.0f} ms system",
        ),
        ("transfer", rest, "sending the program, fetching output"),
        ("total", metrics.total_ms, ""),
        ("process", process_age_ms(), "this command, from its start until now"),
    ]
    lines = [f"{name:<9}{value:>9.1f} ms  {note}".rstrip() for name, value, note in rows]
    return "\n".join([*lines, f"{'memory':<9}{metrics.peak_memory_mib:>9.1f} MiB at its peak"])


def _compiled(compiled: CompileResult) -> str:
    if compiled.cached:
        return "cached: put back as it was compiled before"
    return f"{compiled.reason}: CPU {compiled.cpu_ms:.0f} ms, {compiled.peak_memory_mib:.1f} MiB at its peak"


def process_age_ms() -> float:
    """Return the time since this process was started, in ms; the kernel notes the start to 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - started_s) * 1000
