"""Where the time of one clone goes, step after step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import HELLO, checked, settle
from emberbox.bench.statistics import Series

if TYPE_CHECKING:
    from emberbox.model import RunMetrics
    from emberbox.sandbox import Engine

STEPS = {
    "open": "slot, VMM process and restore, up to a connected channel",
    "confirm": "first answer of the agent (entropy, clock, name)",
    "first": "Python hello, first time: guest code is translated on the way",
    "second": "Python hello, second time in the same sandbox",
    "new_process": "python3 started afresh, first time",
    "new_process_second": "python3 started afresh, second time",
    "close": "ending the VM (not part of a run's latency)",
}


async def measure_breakdown(engine: Engine, runtime: str, samples: int) -> list[Series]:
    """Take the steps of a run one after another.

    In `Engine.run` some of them overlap, so their sum is a little more.
    """
    series = {name: Series(name=name, label=label) for name, label in STEPS.items()}
    for _ in range(samples):
        for name, elapsed_ms in (await _one(engine, runtime)).items():
            series[name].samples.append(elapsed_ms)
    return list(series.values())


async def _one(engine: Engine, runtime: str) -> dict[str, float]:
    times: dict[str, float] = {}
    last = time.perf_counter()

    def mark(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name] = (now - last) * 1000
        last = now

    async with engine.sandbox(runtime) as sandbox:
        mark("open")
        await sandbox.confirm()
        mark("confirm")
        checked(await sandbox.run(HELLO))
        mark("first")
        checked(await sandbox.run(HELLO))
        mark("second")
        for name in ("new_process", "new_process_second"):
            checked(await sandbox.command(["python3", "-c", HELLO]))
            mark(name)
    mark("close")
    await settle(engine)
    return times


def engine_view(metrics: list[RunMetrics]) -> list[Series]:
    """Return what the engine's own metrics say about runs in new clones, in milliseconds."""
    parts = {
        "queue_ms": "wait for a slot and a launch",
        "boot_ms": "VMM process and restore, up to a connected channel",
        "run_ms": "the program, by the guest's clock",
        "total_ms": "from the call to the result",
    }
    series = [
        Series(name=name, label=label, samples=[float(getattr(entry, name)) for entry in metrics])
        for name, label in parts.items()
    ]
    rest = [entry.total_ms - entry.queue_ms - entry.boot_ms - entry.run_ms for entry in metrics]
    series.append(
        Series(name="other_ms", label="agent's answers, channel, and the engine itself", samples=rest)
    )
    return series
