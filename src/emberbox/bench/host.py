"""The machine that is measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.vmm.base import DriverReport


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a reader must know to compare figures.

    Args:
        cpu: The processor's own name.
        cores: Processors that this process may use.
        memory_mib: The host's memory in MiB.
        kernel: The host's kernel release.
        python: Version of the interpreter that Emberbox runs on.
        emberbox: Emberbox's version.
        root: Whether it was measured as root.
        load_average: Over 1, 5 and 15 minutes, before anything was measured.
        accelerator: `kvm` or `tcg`; None before an engine was started.
        accelerator_reason: Why this one.
        vmm: The VMM's own version text.
    """

    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    python: str
    emberbox: str
    root: bool
    load_average: tuple[float, float, float]
    accelerator: str | None = None
    accelerator_reason: str = ""
    vmm: str | None = None


def look_at_host(
    report: DriverReport | None = None, load_average: tuple[float, float, float] | None = None
) -> HostFacts:
    """Collect the facts; `report` is the engine's, `load_average` one that was taken earlier."""
    from emberbox import __version__

    return HostFacts(
        cpu=cpu_name(Path("/proc/cpuinfo").read_text("utf-8", "replace")),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024),
        kernel=platform.release(),
        python=platform.python_version(),
        emberbox=str(__version__),
        root=os.geteuid() == 0,
        load_average=load_average or os.getloadavg(),
        accelerator=report.accelerator if report else None,
        accelerator_reason=report.reason if report else "",
        vmm=report.version if report else None,
    )


def cpu_name(cpuinfo: str) -> str:
    """Return the processor's name from the text of /proc/cpuinfo; the architecture where it names none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "CPU part") and value.strip():
            return value.strip()
    return platform.machine()
