"""Checks of the host itself: its system, its Python, its memory, its control groups."""

from __future__ import annotations

from emberbox.doctor.finding import Finding, Level

ARCHITECTURES = ("x86_64", "aarch64")
PYTHON = (3, 11)
LITTLE_MIB = 1024
TOO_LITTLE_MIB = 256


def check_system(system: str, release: str, machine: str) -> Finding:
    """Judge the operating system and the processor's architecture, as `os.uname` names them."""
    found = f"{system} {release} on {machine}"
    if system != "Linux":
        return _system(Level.MISSING, found, "Emberbox runs on Linux only.")
    if machine not in ARCHITECTURES:
        return _system(Level.MISSING, found, f"There are images for {' and '.join(ARCHITECTURES)} only.")
    return _system(Level.OK, found, None)


def _system(level: Level, found: str, follows: str | None) -> Finding:
    return Finding(key="system", title="System", level=level, found=found, follows=follows)


def check_python(version: tuple[int, int, int]) -> Finding:
    """Judge the interpreter's version."""
    found = ".".join(str(part) for part in version)
    good = version[:2] >= PYTHON
    return Finding(
        key="python", title="Python", level=Level.OK if good else Level.MISSING, found=found,
        follows=None if good else f"Emberbox needs Python {PYTHON[0]}.{PYTHON[1]} or newer.",
    )  # fmt: skip


def check_memory(total_mib: int, available_mib: int) -> Finding:
    """Judge the host's memory: a VM takes 128 to 256 MiB by default, and some tens for its VMM."""
    found = f"{available_mib:,} of {total_mib:,} MiB available"
    if available_mib < TOO_LITTLE_MIB:
        return _memory(Level.MISSING, found, "Too little for a single VM.")
    if available_mib < LITTLE_MIB:
        return _memory(Level.WARNING, found, "Enough for a few VMs at once only.")
    return _memory(Level.OK, found, None)


def _memory(level: Level, found: str, follows: str | None) -> Finding:
    return Finding(key="memory", title="Memory", level=level, found=found, follows=follows)


def check_cgroups(usable: bool, reason: str, *, as_root: bool) -> Finding:
    """Judge whether VMMs get control groups.

    Args:
        usable: Whether groups can be made.
        reason: Which, or why not.
        as_root: Whether we are root.
    """
    if usable:
        return Finding(key="cgroups", title="Control groups", level=Level.OK, found=reason)
    follows = "VMMs run without bounds of their own for memory and CPU time; a VM's size still bounds its guest."
    if not as_root:
        follows += " Only root has control groups without further setting up."
    return Finding(key="cgroups", title="Control groups", level=Level.WARNING, found=reason, follows=follows)
