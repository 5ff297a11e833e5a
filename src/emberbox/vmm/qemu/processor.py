"""The processor that QEMU emulates: all it can, but for flags that slow or hang an emulated guest."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from emberbox.vmm.cpuinfo import CPUINFO, first_value
from emberbox.vmm.qemu.program import mend
from emberbox.vmm.requirements import told_by

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FAST_STRING_FLAGS = ("erms", "fsrm", "fzrm", "fsrs", "fsrc")
"""What tells a kernel and a C library that moving, filling or comparing by `rep` is fast. Under TCG
it is not: `rep movsb` is carried out byte by byte, 20 to 40 times slower than a loop. And they
belong together: Linux 6.1 takes FSRM as a promise of ERMS, and without the latter its memmove calls
itself for ever, early in the boot."""
_HEADING = "CPUID flags:"


def emulated_processor(known_flags: Collection[str]) -> str:
    """Return QEMU's `-cpu` value under TCG, for a QEMU that knows these flags; an unknown one ends it."""
    return ",".join(("max", *(f"-{flag}" for flag in FAST_STRING_FLAGS if flag in known_flags)))


def host_processor(vendor: str) -> str:
    """Return QEMU's `-cpu` value under KVM, for a host's processor of that vendor (`processor_vendor`).

    KVM offers Intel's register IA32_ARCH_CAPABILITIES on AMD's processors as well, which have none.
    One that is made on other kinds of KVM refuses the value that QEMU writes there, and QEMU ends.
    Guests on AMD's processors have no use for it.
    """
    return "host,-arch-capabilities" if vendor in ("AuthenticAMD", "HygonGenuine") else "host"


def processor_vendor(cpuinfo: Path = CPUINFO) -> str:
    """Return the vendor by /proc/cpuinfo, such as `GenuineIntel`; empty where it names none."""
    return first_value("vendor_id", cpuinfo=cpuinfo)


def known_flags(binary: Path) -> list[str]:
    """Ask QEMU which of `FAST_STRING_FLAGS` it knows; none on other processors than x86.

    Blocks for 0.1 s. Raises `RequirementMissing` where it does not run.
    """
    return listed_flags(told_by(binary, "-cpu", "help", pattern=r"(?s).+", mend=mend(platform.machine())))


def listed_flags(help_text: str) -> list[str]:
    """Return those of `FAST_STRING_FLAGS` that the output of `-cpu help` names."""
    words = set(help_text.partition(_HEADING)[2].split())
    return [flag for flag in FAST_STRING_FLAGS if flag in words]
