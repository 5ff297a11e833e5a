"""What a VMM may use of the host, by its machine's spec, and what all of them may use together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.model import MIB
from emberbox.vmm.process.cgroup import CgroupLimits
from emberbox.vmm.process.host_memory import host_memory_mib

if TYPE_CHECKING:
    from emberbox.vmm.base import MachineSpec

OVERHEAD_MIB = 192
"""What a VMM may use besides its guest's memory."""
_THREADS = 64
VMM_CPUS = 0.5
"""CPUs' worth of time of a VMM besides its guest's virtual CPUs: it restores the guest, and carries
out what that asks of its devices, beside them."""
_HEADROOM_SHARE = 10
_HEADROOM_MIB = 512
_KERNEL = Path("/proc/sys/kernel")


def threads(spec: MachineSpec) -> int:
    """Return how many threads a VMM may have."""
    return _THREADS + spec.vcpus


def group_limits(spec: MachineSpec, memory_mib: int) -> CgroupLimits:
    """Return the limits of a VMM's control group: its virtual CPUs' worth of time and weight among them.

    Args:
        spec: Its machine.
        memory_mib: Memory that is charged to it for its guest.
    """
    return CgroupLimits(
        memory_bytes=(memory_mib + OVERHEAD_MIB) * MIB,
        pids=threads(spec),
        cpus=spec.vcpus + VMM_CPUS,
        weight=spec.vcpus,
    )


def all_machines_mib() -> int:
    """Return how much memory all VMMs of this host may have together, in MiB.

    That is all but a tenth, which is at least 512 MiB and at most half, and stays the host's.
    """
    total_mib = host_memory_mib()
    return total_mib - min(max(_HEADROOM_MIB, total_mib // _HEADROOM_SHARE), total_mib // 2)


def all_limits() -> CgroupLimits:
    """Return the limits of all VMMs of this host together, which leave it memory and half of its pids."""
    pids = min(int((_KERNEL / name).read_text()) for name in ("pid_max", "threads-max"))
    return CgroupLimits(memory_bytes=all_machines_mib() * MIB, pids=pids // 2)


def longest_drive(spec: MachineSpec) -> int:
    """Return the bytes of the longest drive that a VMM writes to; 0 for none. Raises `OSError`."""
    return max((drive.path.stat().st_size for drive in spec.drives if not drive.read_only), default=0)
