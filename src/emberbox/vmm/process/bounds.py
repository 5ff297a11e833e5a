"""What a VMM may use of the host, by its machine's spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.vmm.process.cgroup import CgroupLimits

if TYPE_CHECKING:
    from emberbox.vmm.base import MachineSpec

OVERHEAD_MIB = 192
"""What a VMM may use besides its guest's memory."""
_THREADS = 64


def threads(spec: MachineSpec) -> int:
    """Return how many threads a VMM may have."""
    return _THREADS + spec.vcpus


def group_limits(spec: MachineSpec, memory_mib: int, cpus: float | None) -> CgroupLimits:
    """Return the limits of a VMM's control group.

    Args:
        spec: Its machine.
        memory_mib: Memory that is charged to it for its guest.
        cpus: CPUs' worth of time; None for no bound.
    """
    memory_bytes = (memory_mib + OVERHEAD_MIB) * 1024 * 1024
    return CgroupLimits(memory_bytes=memory_bytes, pids=threads(spec), cpus=cpus)


def longest_drive(spec: MachineSpec) -> int:
    """Return the bytes of the longest drive that a VMM writes to; 0 for none. Raises `OSError`."""
    return max((drive.path.stat().st_size for drive in spec.drives if not drive.read_only), default=0)
