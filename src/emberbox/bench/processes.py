"""What a process takes: processor time and memory, as /proc tells it (proc(5))."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.bench.smaps import rollup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Resident and proportional memory of a process, in MiB."""

    rss: float
    pss: float


def memory_of(pid: int) -> ProcessMemory:
    """Return what a process takes now, without its children. Raises `OSError`."""
    values = rollup(pid)
    return ProcessMemory(values.get("Rss", 0) / 1024, values.get("Pss", 0) / 1024)


def rss_mib(pid: int) -> float:
    """Return a process's resident memory; cheaper than `memory_of`. Raises `OSError`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_ms(pid: int) -> float:
    """Return the processor time that a process's threads have used, in milliseconds, without its children.

    Read from schedstat, which counts nanoseconds where stat counts hundredths of a second. Raises `OSError`.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


@contextlib.asynccontextmanager
async def watching_rss(pid: int, every_s: float) -> AsyncIterator[list[float]]:
    """Yield a list that grows by the process's resident memory, in MiB, every `every_s` seconds while the block runs."""
    samples = [rss_mib(pid)]

    async def look() -> None:
        while True:
            await asyncio.sleep(every_s)
            samples.append(rss_mib(pid))

    looking = asyncio.create_task(look(), name="watch-rss")
    try:
        yield samples
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        if not looking.cancelled():
            looking.exception()  # the process has ended: what was seen of it stays
        with contextlib.suppress(OSError):
            samples.append(rss_mib(pid))
