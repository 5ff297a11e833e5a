"""QEMU's program: its name, the package that brings it, and the mark of a machine's process."""

from __future__ import annotations

from emberbox.vmm.process.marks import Mark

_PACKAGES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
_PREFIX = "qemu-system-"
_GUEST = "guest=emberbox-"
NAME = "-name"
MARK = Mark(programs=(_PREFIX,), option=NAME, value=f"{_GUEST}(.*)")
"""By which its processes are found."""


def program(architecture: str) -> str:
    """Return the name of the program for the host's architecture."""
    return f"{_PREFIX}{architecture}"


def packages(architecture: str) -> dict[str, str]:
    """Return that program and Debian's package of it."""
    return {program(architecture): _PACKAGES.get(architecture, "qemu-system")}


def mend(architecture: str) -> str:
    """Return the command that brings all that the driver needs."""
    return f"apt-get install -y {packages(architecture)[program(architecture)]} bubblewrap"


def machine_name(machine_id: str) -> str:
    """Return the word of a VMM's command line by which it is found again."""
    return f"{_GUEST}{machine_id}"
