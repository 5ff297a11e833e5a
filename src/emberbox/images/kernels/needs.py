"""Lists guests' needs of a kernel, and finds each built in, as a given module, or missing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from emberbox.images.kernels.facts import KernelFacts


class Has(StrEnum):
    """How a kernel has something."""

    BUILT_IN = "built in"
    MODULE = "a module"
    ABSENT_MODULE = "a module that was not given"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that a kernel should have.

    Args:
        title: For people.
        option: Its option in the kernel's configuration, without CONFIG_.
        mark: Bytes in each kernel that has it built in, for kernels that tell no configuration.
        module: The name of its module; None for what is never one.
    """

    title: str
    option: str
    mark: bytes
    module: str | None = None


INITRAMFS = Need(title="an initial RAM file system", option="BLK_DEV_INITRD", mark=b"rootfs image")
DEVTMPFS = Need(title="devtmpfs", option="DEVTMPFS", mark=b"devtmpfs")
TMPFS = Need(title="tmpfs", option="TMPFS", mark=b"\0nr_blocks\0")
CGROUPS = Need(title="control groups", option="CGROUPS", mark=b"cgroup2\0")
CGROUP_MEMORY = Need(title="control groups that bound memory", option="MEMCG", mark=b"cgroup.memory=")
CGROUP_PIDS = Need(
    title="control groups that bound processes", option="CGROUP_PIDS", mark=b"fork rejected by pids"
)
ACPI = Need(title="ACPI, by which devices are found", option="ACPI", mark=b"acpi_os_name=")
MMIO_BY_NAME = Need(
    title="virtio devices named on the command line",
    option="VIRTIO_MMIO_CMDLINE_DEVICES",
    mark=b"virtio_mmio.device",
)
MMIO = Need(
    title="virtio over memory-mapped registers",
    option="VIRTIO_MMIO",
    mark=b"virtio-mmio\0",
    module="virtio_mmio",
)
PCI = Need(title="virtio over PCI", option="VIRTIO_PCI", mark=b"virtio-pci\0", module="virtio_pci")
BLOCK = Need(title="virtio disks", option="VIRTIO_BLK", mark=b"virtio_blk\0", module="virtio_blk")
EXT4 = Need(title="the file system ext4", option="EXT4_FS", mark=b"ext4\0", module="ext4")
OVERLAY = Need(title="the file system overlay", option="OVERLAY_FS", mark=b"overlayfs: ", module="overlay")
CONSOLE = Need(
    title="virtio consoles", option="VIRTIO_CONSOLE", mark=b"virtio_console\0", module="virtio_console"
)
VSOCK = Need(
    title="vsock over virtio",
    option="VIRTIO_VSOCKETS",
    mark=b"virtio_transport\0",
    module="vmw_vsock_virtio_transport",
)
PVM = Need(title="PVM's guest part", option="PVM_GUEST", mark=b"fatal PVM event")

ALWAYS = (INITRAMFS, DEVTMPFS, TMPFS, CGROUPS, CGROUP_MEMORY, CGROUP_PIDS, BLOCK, EXT4, OVERLAY)
"""What every guest needs, on any driver."""

_PVH = "the entry for PVH (CONFIG_PVH)"


def has(need: Need, facts: KernelFacts, modules: Collection[str], built_in: Collection[str]) -> Has:
    """Tell how a kernel has something.

    Args:
        need: What.
        facts: The kernel.
        modules: Names of the modules that were given with it.
        built_in: Names that its list of built-in modules holds; empty where there is no such list.
    """
    if facts.config is not None:
        value = facts.config.get(f"CONFIG_{need.option}", "n")
        if value == "m":
            return Has.MODULE if need.module in modules else Has.ABSENT_MODULE
        return Has.MISSING if value == "n" else Has.BUILT_IN
    if need.module in modules:
        return Has.MODULE
    return Has.BUILT_IN if need.module in built_in or facts.holds(need.mark) else Has.MISSING


def lacks_by_driver(
    facts: KernelFacts, modules: Collection[str], built_in: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return, by driver, what that driver's guests need and the kernel has not, each for people.

    Arguments as for `has`.
    """

    def missing(needs: Iterable[Need]) -> list[str]:
        return [
            _told(need, found) for need in needs if (found := has(need, facts, modules, built_in)) in _USELESS
        ]

    always = missing(ALWAYS)
    if missing([MMIO]):
        with_pci = "" if missing([PCI]) else ", and not only over PCI"
        always.append(missing([MMIO])[0] + with_pci)
    x86 = facts.architecture == "amd64"
    by_name = not missing([MMIO_BY_NAME])
    return {
        "qemu": (
            *always,
            *missing([CONSOLE, *([ACPI] if x86 else [])]),
            *([_PVH] if x86 and not facts.pvh else []),
        ),
        "firecracker": (*always, *missing([VSOCK, *([ACPI] if x86 and not by_name else [])])),
    }


_USELESS = (Has.ABSENT_MODULE, Has.MISSING)


def _told(need: Need, found: Has) -> str:
    how = ", which is a module: --modules must bring it" if found is Has.ABSENT_MODULE else ""
    return f"{need.title} (CONFIG_{need.option}{how})"
