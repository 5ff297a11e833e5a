"""The small table of `emberbox run --time`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.model import RunMetrics

_SOURCES = {"pool": "taken from the pool", "clone": "cloned from the template", "cold": "booted", "sandbox": "was there already"}


def table(metrics: RunMetrics) -> str:
    """Return where the time went, as lines of text."""
    rest = max(0.0, metrics.total_ms - metrics.queue_ms - metrics.boot_ms - metrics.run_ms)
    rows = [
        ("queue", metrics.queue_ms, "wait for a slot"),
        ("VM", metrics.boot_ms, _SOURCES[metrics.source]),
        ("program", metrics.run_ms, f"CPU {metrics.cpu_user_ms:.0f} ms user, {metrics.cpu_system_ms:.0f} ms system"),
        ("transfer", rest, "sending the program, fetching output"),
        ("total", metrics.total_ms, ""),
        ("process", process_age_ms(), "this command, from its start until now"),
    ]
    lines = [f"{name:<9}{value:>9.1f} ms  {note}".rstrip() for name, value, note in rows]
    return "\n".join([*lines, f"{'memory':<9}{metrics.peak_memory_mib:>9.1f} MiB at its peak"])


def process_age_ms() -> float:
    """Return the time since this process was started, in ms; the kernel notes the start to 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - started_s) * 1000
