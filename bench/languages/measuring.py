"""What the table of languages says of each, measured."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from bench.languages import gvisor
from emberbox.bench.samplers.base import BenchError, Unavailable
from emberbox.languages.checking import image_bytes, pooled_engine
from emberbox.languages.programs import version_text
from emberbox.languages.subject import Subject, ended, messages
from emberbox.languages.timings import (
    Plan,
    Spread,
    Times,
    measure_clones,
    measure_cold,
    measure_compiles,
    measure_pooled,
)
from emberbox.languages.verdict import Skipped, Wrong

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emberbox.images import Image
    from emberbox.runtimes import Runtime
    from emberbox.sandbox import Engine

FULL = Plan(cold=2, clones=20, pooled=20, compiles=3, budget_s=8.0)
BRIEF = Plan(cold=1, clones=5, pooled=5, compiles=1, budget_s=5.0)
GVISOR_RUNS = 7
GVISOR_BUDGET_S = 5.0
SHOWN_LINES = 12
SHOWN_BYTES = 1200
"""How much of a tool's message the page shows."""


async def measure_language(engine: Engine, runtime: Runtime, plan: Plan) -> dict[str, Any]:
    """Measure one language.

    Args:
        engine: Started, without a pool.
        runtime: One of the engine's, whose image is built.
        plan: How much.

    Returns:
        JSON-ready values, a row of the table.

    Raises:
        Skipped, Wrong, EmberboxError: It cannot be measured; the text says why.
    """
    subject, times = Subject(engine, runtime), Times()
    image = await engine.image(runtime)
    template = await engine.template(runtime.name)
    await measure_cold(subject, plan, times)
    await measure_clones(subject, plan, times)
    await measure_compiles(subject, plan, times)
    async with pooled_engine(engine.settings) as other:
        await measure_pooled(Subject(other, runtime), plan, times)
    under_gvisor, note = await _gvisor(subject, image)
    return {
        "name": runtime.name,
        "taken_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": runtime.version,
        "version_text": await _version(subject),
        "kind": kind(runtime, waiting=template.record.waiting),
        "memory_mib": template.size.memory_mib,
        "image_mib": round(image_bytes(image) / 2**20, 1),
        "rootfs": image.digests["rootfs"],
        "cold_ms": times.cold.to_dict(),
        "clone_ms": times.clone.to_dict(),
        "pooled_ms": times.pooled.to_dict(),
        "clone_cpu_ms": times.clone_cpu.to_dict(),
        "pooled_cpu_ms": times.pooled_cpu.to_dict(),
        "fresh_ms": times.fresh.to_dict(),
        "compile_ms": times.compile.to_dict(),
        "peak_memory_mib": round(times.peak_memory_mib, 1),
        "compile_peak_memory_mib": None
        if times.compile_peak_memory_mib is None
        else round(times.compile_peak_memory_mib, 1),
        "gvisor_ms": under_gvisor.to_dict(),
        "gvisor_note": note,
        "compile_error": await _mistake(subject, "compile_error"),
        "runtime_error": await _mistake(subject, "runtime_error"),
    }


def kind(runtime: Runtime, *, waiting: bool) -> str:
    """Return how a runtime's programs come to run: `compiled`, `waiting` or `interpreted`."""
    if runtime.compile is not None:
        return "compiled"
    return "waiting" if waiting else "interpreted"


def disk_use(images: Iterable[Image]) -> dict[str, int]:
    """Return what images take on disk in bytes, and what they would if each had files of its own."""
    files: dict[str, int] = {}
    count = unshared = 0
    for image in images:
        count += 1
        for role in ("kernel", "initramfs", "rootfs"):
            size = getattr(image, role).stat().st_blocks * 512
            files[image.digests[role]] = size
            unshared += size
    return {"images": count, "bytes": sum(files.values()), "unshared_bytes": unshared}


async def _gvisor(subject: Subject, image: Image) -> tuple[Spread, str]:
    try:
        hello = subject.example("hello")
        return await gvisor.measure(subject.runtime, image, hello, GVISOR_RUNS, GVISOR_BUDGET_S)
    except (Unavailable, BenchError, Skipped) as reason:
        return Spread(), str(reason)


async def _version(subject: Subject) -> str | None:
    try:
        return await version_text(subject)
    except (Skipped, Wrong):
        return None


async def _mistake(subject: Subject, name: str) -> dict[str, str] | None:
    if not subject.examples.has(name):
        return None
    result = await subject.run(subject.examples.path(name))
    text = messages(result) or result.stdout
    lines = text[:SHOWN_BYTES].strip().splitlines()
    shown = lines if len(lines) <= SHOWN_LINES else [*lines[:SHOWN_LINES], "…"]
    return {"ended": ended(result).partition(":")[0], "text": "\n".join(_printable(line) for line in shown)}


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() or character == "\t" else "�" for character in text)
