"""Checks of the host itself: its system, its Python, its memory, its control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.doctor.finding import Finding

ARCHITECTURES = ("x86_64", "aarch64")
PYTHON = (3, 11)
LITTLE_MIB = 1024
TOO_LITTLE_MIB = 256


def check_system(system: str, release: str, machine: str) -> Finding:
    """Judge the operating system and the processor's architecture, as `os.uname` names them."""
    row = Row("system", "System")
    found = f"{system} {release} on {machine}"
    if system != "Linux":
        return row.missing(found, "Emberbox runs on Linux only.")
    if machine not in ARCHITECTURES:
        return row.missing(found, f"There are images for {' and '.join(ARCHITECTURES)} only.")
    return row.ok(found)


def check_python(version: tuple[int, int, int]) -> Finding:
    """Judge the interpreter's version."""
    row = Row("python", "Python")
    found = ".".join(str(part) for part in version)
    if version[:2] >= PYTHON:
        return row.ok(found)
    return row.missing(found, f"Emberbox needs Python {PYTHON[0]}.{PYTHON[1]} or newer.")


def check_memory(total_mib: int, available_mib: int) -> Finding:
    """Judge the host's memory: a VM takes 128 to 256 MiB by default, and some tens for its VMM."""
    row = Row("memory", "Memory")
    found = f"{available_mib:,} of {total_mib:,} MiB available"
    if available_mib < TOO_LITTLE_MIB:
        return row.missing(found, "Too little for a single VM.")
    if available_mib < LITTLE_MIB:
        return row.warning(found, "Enough for a few VMs at once only.")
    return row.ok(found)


def check_cgroups(problem: str | None, *, as_root: bool, bounded: Sequence[str] | None) -> Finding:
    """Judge whether VMMs get control groups.

    Args:
        problem: Why no process can be bounded by one; None when one was.
        as_root: Whether we are root.
        bounded: The controllers that a VMM was bounded by; None where no VMM ran.
    """
    row = Row("cgroups", "Control groups")
    if problem is None and bounded is None:
        return row.ok("a process was bounded by one; no VM ran to be looked at")
    if problem is None and bounded:
        names = ", ".join(bounded) if any(bounded) else "version 2"
        return row.ok(f"a VMM was in its own ({names}), and bounds hold")
    follows = (
        "VMMs run without bounds of their own for memory and CPU time; a VM's size still bounds its guest."
    )
    if not as_root:
        follows += " Only root has control groups without further setting up."
    found = problem or "a VMM that was looked at is in none"
    return row.warning(found, follows)
