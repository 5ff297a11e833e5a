"""What a machine is made of: an image at a size, and what else goes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.bounds import MEMORY_MIB, MEMORY_STEPS_MIB, VCPUS, VCPUS_STEPS, step_up
from emberbox.errors import InvalidInput
from emberbox.vmm.base import Drive, MachineSpec, Rates

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Image
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.machines.console import ConsoleReader

KERNEL_ARGS = (
    # The kernel hands what it does not know to PID 1 as environment: the agent is neither to
    # preempt itself by signals nor to count processors.
    "GODEBUG=asyncpreemptoff=1,updatemaxprocs=0",
    # An emulator translates code for each address that it is found at: let it be found where it was.
    "norandmaps",
    # Bookkeeping and second walls that one tenant's own VM has no use for.
    "psi=0",
    "lsm=capability",
    "nowatchdog",
    "cgroup.memory=nokmem,nosocket",
    "hardened_usercopy=off",
    "transparent_hugepage=never",
)
"""What makes a guest start quickly, beyond what the driver itself needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSize:
    """What a template is made for, besides its image.

    Args:
        vcpus: Virtual CPUs.
        memory_mib: Guest memory in MiB.
    """

    vcpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """One machine as it shall be.

    Args:
        image: What it boots.
        size: How large it is.
        layers: File systems that lie over the image's, the last one on top.
        disk_mib: Bound of what the guest may write; None for the agent's default, half of its memory.
        script_drive: Raw image, mounted read-only at /mnt/script; None for none.
        console: Gets what the guest prints, as it comes, of a kernel that tells all that it does;
            None for a quiet one. Of a clone, it is what comes from its restore on.
        memory: Where the memory of a template lives; None for an ordinary machine.
    """

    image: Image
    size: MachineSize
    layers: tuple[Path, ...] = ()
    disk_mib: int | None = None
    script_drive: Path | None = None
    console: ConsoleReader | None = None
    memory: Path | None = None

    def spec(self, name: str, folder: Path, rates: Rates, *, talkative: bool = False) -> MachineSpec:
        """Return the spec: behind the image's root come the drives of the layers, then the script drive."""
        drives = (self.image.rootfs, *self.layers, *((self.script_drive,) if self.script_drive else ()))
        layers = (f"emberbox.layers={len(self.layers)}",) if self.layers else ()
        return MachineSpec(
            id=name,
            run_dir=folder,
            vcpus=self.size.vcpus,
            memory_mib=self.size.memory_mib,
            kernel=self.image.kernel,
            initramfs=self.image.initramfs,
            drives=tuple(Drive(path=path) for path in drives),
            kernel_args=(*KERNEL_ARGS, *layers),
            rates=rates,
            talkative=talkative,
        )


def size_of(runtime: Runtime, memory_mib: int | None, vcpus: int | None) -> MachineSize:
    """Return the size of a VM for what is asked for, rounded up to one that there is.

    Args:
        runtime: Its own size is one, whatever the steps are.
        memory_mib: As asked for; None for the runtime's.
        vcpus: The same.

    Raises:
        InvalidInput: No VM can have it.
    """
    own = runtime.limits
    MEMORY_MIB.check("memory_mib", memory_mib)
    VCPUS.check("vcpus", vcpus)
    return MachineSize(
        vcpus=own.vcpus if vcpus is None else step_up(vcpus, VCPUS_STEPS, own.vcpus),
        memory_mib=own.memory_mib
        if memory_mib is None
        else step_up(memory_mib, MEMORY_STEPS_MIB, own.memory_mib),
    )


def disk_of(runtime: Runtime, disk_mib: int | None, size: MachineSize) -> int | None:
    """Return the bound of what a guest may write, in MiB; None takes the runtime's, which may be none.

    Raises:
        InvalidInput: The guest's memory has no room for so much.
    """
    chosen = runtime.limits.disk_mib if disk_mib is None else disk_mib
    if chosen is not None and not 1 <= chosen <= size.memory_mib:
        allowed = f"disk_mib must be 1 to the VM's memory ({size.memory_mib})"
        raise InvalidInput(f"{allowed}, not {chosen}: files are kept in guest memory")
    return chosen
