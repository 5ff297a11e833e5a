"""What a machine is made of, as requests to Firecracker. Pure: a spec in, requests out.

Sources: Firecracker's API description; docs/initrd.md (an initrd goes without a root device),
docs/ballooning.md, docs/snapshotting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emberbox.vmm.firecracker.channel import PORT
from emberbox.vmm.firecracker.requests.request import Request
from emberbox.vmm.kernel_line import kernel_line

if TYPE_CHECKING:
    from emberbox.vmm.base import Drive, MachineSpec, Rates

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


def drive_path(index: int) -> str:
    """Return the path of a drive inside the jail."""
    return f"/drives/{index}"


def arguments(log_level: str) -> list[str]:
    """Return Firecracker's arguments: where its API is, and where it logs and counts from its first moment.

    Args:
        log_level: One of `vmm.log_level`, which are Firecracker's own.
    """
    log = ["--log-path", f"/{LOG}", "--level", log_level.capitalize(), "--show-level"]
    return ["--api-sock", API, *log, "--metrics-path", f"/{METRICS}"]


def boot(spec: MachineSpec, rates: Rates) -> list[Request]:
    """Return what makes a machine, bounded by `rates`, and starts it."""
    line = _kernel_line(spec)
    source = {"kernel_image_path": KERNEL, "initrd_path": INITRAMFS, "boot_args": line}
    requests = [
        Request("PUT", "/machine-config", {"vcpu_count": spec.vcpus, "mem_size_mib": spec.memory_mib}),
        Request("PUT", "/boot-source", source),
        *(_drive(index, drive, rates) for index, drive in enumerate(spec.drives)),
        Request("PUT", "/vsock", {"guest_cid": GUEST_CID, "uds_path": VSOCK}),
        Request("PUT", "/entropy", {}),
    ]
    if spec.network is not None:
        device = {"iface_id": INTERFACE, "host_dev_name": spec.network.tap, "guest_mac": spec.network.mac}
        requests.append(Request("PUT", f"/network-interfaces/{INTERFACE}", device | _network_bounds(rates)))
    if room := _room_mib(spec):
        sizes = {"slot_size_mib": _HOTPLUG_SLOT_MIB, "block_size_mib": HOTPLUG_BLOCK_MIB}
        requests.append(Request("PUT", "/hotplug/memory", {"total_size_mib": room, **sizes}))
    return [*requests, _BALLOON, Request("PUT", "/actions", {"action_type": "InstanceStart"})]


def _drive(index: int, drive: Drive, rates: Rates) -> Request:
    name = f"drive{index}"
    # An initrd goes without a root device.
    device = {"drive_id": name, "path_on_host": drive_path(index), "is_root_device": False}
    return Request("PUT", f"/drives/{name}", device | {"is_read_only": drive.read_only} | _disk_bounds(rates))


_BALLOON = Request(
    "PUT",
    "/balloon",
    {
        "amount_mib": 0,
        "deflate_on_oom": True,
        "stats_polling_interval_s": BALLOON_STATISTICS_S,
        "free_page_reporting": True,
    },
    optional=("free_page_reporting",),
)
"""Empty: the guest takes from it by itself when it runs short. Releases before the optional field do
without."""


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


def load(spec: MachineSpec, *, clock: bool) -> Request:
    """Return what restores a clone, which runs at once; only as the first request to its process.

    Releases before the optional fields do without: the agent sets the clock, too, and in its jail
    each socket has the same name.

    Args:
        spec: The clone.
        clock: Whether the host's kernel can move the guest's clock on by the time that has passed.
    """
    body: dict[str, Any] = {
        "snapshot_path": STATE,
        "mem_backend": {"backend_path": MEMORY, "backend_type": "File"},
        "resume_vm": True,
        "vsock_override": {"uds_path": VSOCK},
    }
    if spec.network is not None:
        body["network_overrides"] = [{"iface_id": INTERFACE, "host_dev_name": spec.network.tap}]
    if clock:
        body["clock_realtime"] = True
    return Request("PUT", "/snapshot/load", body, optional=("clock_realtime", "vsock_override"))


def bounds(spec: MachineSpec) -> list[Request]:
    """Return the bounds of a clone's devices, whose template has none; nothing where none are asked."""
    requests: list[Request] = []
    if disk := _disk_bounds(spec.rates):
        names = [f"drive{index}" for index in range(len(spec.drives))]
        requests += [Request("PATCH", f"/drives/{name}", {"drive_id": name, **disk}) for name in names]
    if spec.network is not None and (network := _network_bounds(spec.rates)):
        interface = {"iface_id": INTERFACE, **network}
        requests.append(Request("PATCH", f"/network-interfaces/{INTERFACE}", interface))
    return requests


def _disk_bounds(rates: Rates) -> dict[str, Any]:
    return _bounds("rate_limiter", bandwidth=rates.disk_bytes_per_s, ops=rates.disk_ops_per_s)


def _network_bounds(rates: Rates) -> dict[str, Any]:
    return _bounds("rx_rate_limiter", "tx_rate_limiter", bandwidth=rates.network_bytes_per_s)


def _bounds(*limiters: str, **per_s: int | None) -> dict[str, Any]:
    """Return a device's fields for these limiters, all alike; none where there is no bound."""
    # A bucket of `size` tokens that is full again after `refill_time` ms.
    buckets = {
        name: {"size": size, "refill_time": _SECOND_MS} for name, size in per_s.items() if size is not None
    }
    return dict.fromkeys(limiters, buckets) if buckets else {}
