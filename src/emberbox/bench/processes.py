"""What a process takes: processor time and memory, as /proc tells it (proc(5))."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import BenchError
from emberbox.bench.smaps import rollup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Resident and proportional memory of a process, in MiB."""

    rss: float
    pss: float


@contextlib.contextmanager
def _asking(pid: int) -> Iterator[None]:
    try:
        yield
    except (OSError, StopIteration) as error:
        raise BenchError(f"process {pid} cannot be looked at; has it ended? {error}") from error


def memory_of(pid: int) -> ProcessMemory:
    """Return what a process takes now, without its children. Raises `BenchError`."""
    with _asking(pid):
        values = rollup(pid)
    return ProcessMemory(values.get("Rss", 0) / 1024, values.get("Pss", 0) / 1024)


def rss_mib(pid: int) -> float:
    """Return a process's resident memory; cheaper than `memory_of`. Raises `BenchError`."""
    with _asking(pid):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def cpu_ms(pid: int) -> float:
    """Return the processor time that a process's threads have used, in milliseconds, without its children.

    Read from schedstat, which counts nanoseconds where stat counts hundredths of a second. A thread
    that has ended is no longer counted. Raises `BenchError`.
    """
    total = 0
    with _asking(pid):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


@contextlib.asynccontextmanager
async def watching_rss(pid: int, every_s: float) -> AsyncIterator[list[float]]:
    """Yield a list that grows by the process's resident memory while the block runs.

    Args:
        pid: The process.
        every_s: Seconds between two looks; sizes are in MiB.
    """
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
        with contextlib.suppress(BenchError):
            samples.append(rss_mib(pid))
