"""What a machine is made of, as requests to Firecracker. Pure: a spec in, requests out.

Sources: Firecracker's API description; docs/initrd.md (an initrd goes without a root device),
docs/ballooning.md, docs/snapshotting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.vmm.firecracker.channel import PORT
from emberbox.vmm.firecracker.requests.bodies import (
    BootSource,
    MachineConfiguration,
    MemoryBackend,
    NetworkOverride,
    SnapshotLoad,
)
from emberbox.vmm.firecracker.requests.devices import (
    Balloon,
    DriveConfig,
    DriveUpdate,
    EntropyDevice,
    MemoryHotplug,
    NetworkInterface,
    NetworkInterfaceUpdate,
    RateLimiter,
    TokenBucket,
    Vsock,
)
from emberbox.vmm.kernel_line import kernel_line

if TYPE_CHECKING:
    from emberbox.vmm.base import MachineSpec, NetworkAttachment, Rates
    from emberbox.vmm.firecracker.requests.request import Request

API = "/api.sock"
VSOCK = "/v.sock"
KERNEL = "/kernel"
INITRAMFS = "/initramfs"
MEMORY = "/snapshot/memory"
STATE = "/snapshot/state"
LOG = "log.fifo"
METRICS = "metrics.fifo"
INTERFACE = "eth0"
GUEST_CID = 3
BALLOON_STATISTICS_S = 5
"""How often a guest tells how it uses its memory."""
BALLOON_OPTIONAL = ("free_page_reporting",)
"""What releases before it do without."""
LOAD_OPTIONAL = ("clock_realtime", "vsock_override")
"""What releases before them do without: the agent sets the clock, too, and in its jail each socket
has the same name."""
_SECOND_MS = 1000
_HOTPLUG_SLOT_MIB = 128
HOTPLUG_BLOCK_MIB = 2

KERNEL_ARGS = (
    "console=ttyS0",
    "quiet",
    "loglevel=1",
    "reboot=k",
    "panic=-1",
    "pci=off",
    "i8042.noaux",
    "i8042.nomux",
    "i8042.dumbkbd",
    "swiotlb=noforce",
    "random.trust_cpu=on",
    "mitigations=off",
    "init_on_alloc=0",
    "audit=0",
    f"emberbox.channel=vsock:{PORT}",
)
"""Always sent: the default command line of Firecracker has `nomodule`, with which a kernel made of
modules finds no disk."""
GROWING_ARGS = ("memhp_default_state=online_movable",)
"""What the kernel of a machine that may grow is told: distributions' kernels leave plugged memory
unused (its documentation, admin-guide/mm/memory-hotplug)."""


def drive_id(index: int) -> str:
    """Return the name of a drive, in the order of /dev/vda, /dev/vdb, …"""
    return f"drive{index}"


def drive_path(index: int) -> str:
    """Return the path of a drive inside the jail."""
    return f"/drives/{index}"


def arguments(log_level: str = "warning") -> list[str]:
    """Return Firecracker's arguments: where its API is, and where it logs and counts from its first moment.

    Args:
        log_level: One of `vmm.log_level`, which are Firecracker's own.
    """
    log = ["--log-path", f"/{LOG}", "--level", log_level.capitalize(), "--show-level"]
    return ["--api-sock", API, *log, "--metrics-path", f"/{METRICS}"]


def boot(spec: MachineSpec, *, rates: Rates | None) -> list[Request]:
    """Return what configures a machine that boots, but for the balloon; None leaves it unbounded."""
    requests: list[Request] = [
        MachineConfiguration(vcpu_count=spec.vcpus, mem_size_mib=spec.memory_mib),
        BootSource(kernel_image_path=KERNEL, initrd_path=INITRAMFS, boot_args=_kernel_line(spec)),
    ]
    for index, drive in enumerate(spec.drives):
        limiter = None if rates is None else disk_limiter(rates)
        requests.append(
            DriveConfig(
                drive_id=drive_id(index),
                path_on_host=drive_path(index),
                is_read_only=drive.read_only,
                rate_limiter=limiter,
            )
        )
    requests += [Vsock(guest_cid=GUEST_CID, uds_path=VSOCK), EntropyDevice()]
    if spec.network is not None:
        requests.append(_interface(spec.network, None if rates is None else network_limiter(rates)))
    room = _room_mib(spec)
    if room:
        requests.append(
            MemoryHotplug(
                total_size_mib=room, slot_size_mib=_HOTPLUG_SLOT_MIB, block_size_mib=HOTPLUG_BLOCK_MIB
            )
        )
    return requests


def _interface(network: NetworkAttachment, limiter: RateLimiter | None) -> NetworkInterface:
    return NetworkInterface(
        iface_id=INTERFACE,
        host_dev_name=network.tap,
        guest_mac=network.mac,
        rx_rate_limiter=limiter,
        tx_rate_limiter=limiter,
    )


def memory_file_mib(spec: MachineSpec) -> int:
    """Return a snapshot's greatest memory file length, with room for all that could be plugged in."""
    return spec.memory_mib + _room_mib(spec)


def _room_mib(spec: MachineSpec) -> int:
    return -(-_growth_mib(spec) // _HOTPLUG_SLOT_MIB) * _HOTPLUG_SLOT_MIB


def _growth_mib(spec: MachineSpec) -> int:
    return (spec.memory_max_mib or spec.memory_mib) - spec.memory_mib


def _kernel_line(spec: MachineSpec) -> str:
    words = (*KERNEL_ARGS, *(GROWING_ARGS if _growth_mib(spec) else ()), *spec.kernel_args)
    return kernel_line(words, talkative=spec.talkative)


def balloon() -> Balloon:
    """Return the balloon, empty: the guest takes from it by itself when it runs short."""
    return Balloon(
        amount_mib=0,
        deflate_on_oom=True,
        stats_polling_interval_s=BALLOON_STATISTICS_S,
        free_page_reporting=True,
    )


def load(spec: MachineSpec, *, clock: bool) -> SnapshotLoad:
    """Return what restores a clone, which runs at once.

    Args:
        spec: The clone.
        clock: Whether the host's kernel can move the guest's clock on by the time that has passed.
    """
    network = (
        () if spec.network is None else (NetworkOverride(iface_id=INTERFACE, host_dev_name=spec.network.tap),)
    )
    return SnapshotLoad(
        snapshot_path=STATE,
        mem_backend=MemoryBackend(backend_path=MEMORY),
        resume_vm=True,
        network_overrides=network,
        vsock_uds_path=VSOCK,
        clock_realtime=True if clock else None,
    )


def bounds(spec: MachineSpec) -> list[Request]:
    """Return the bounds of a clone's devices, whose template has none; nothing where none are asked."""
    disk, network = disk_limiter(spec.rates), network_limiter(spec.rates)
    requests: list[Request] = []
    if disk is not None:
        requests += [
            DriveUpdate(drive_id=drive_id(index), rate_limiter=disk) for index in range(len(spec.drives))
        ]
    if network is not None and spec.network is not None:
        requests.append(
            NetworkInterfaceUpdate(iface_id=INTERFACE, rx_rate_limiter=network, tx_rate_limiter=network)
        )
    return requests


def disk_limiter(rates: Rates) -> RateLimiter | None:
    """Return the limiter of a drive; None for no bound."""
    return _limiter(rates.disk_bytes_per_s, rates.disk_ops_per_s)


def network_limiter(rates: Rates) -> RateLimiter | None:
    """Return the limiter of one direction of the network; None for no bound."""
    return _limiter(rates.network_bytes_per_s, None)


def _limiter(bytes_per_s: int | None, ops_per_s: int | None) -> RateLimiter | None:
    if bytes_per_s is None and ops_per_s is None:
        return None
    return RateLimiter(bandwidth=_bucket(bytes_per_s), ops=_bucket(ops_per_s))


def _bucket(per_s: int | None) -> TokenBucket | None:
    return None if per_s is None else TokenBucket(size=per_s, refill_time=_SECOND_MS)
