"""The configuration before the start, checked as it comes, with the machine's files opened."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.faults import Fault, spoken

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_BOOT_ARGS = (
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"
)
_SETIFF = 0x400454CA
_TAP = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR (linux/if_tun.h)
_DEFAULT_MACHINE = {
    "vcpu_count": 1,
    "mem_size_mib": 128,
    "smt": False,
    "track_dirty_pages": False,
    "huge_pages": "None",
    "cpu_template": "None",
}
_MOST_MIB = 1 << 20
_MOST_VCPUS = 32
_LONGEST_BOOT_ARGS = 2047
"""The room for the kernel's arguments is 2,048 bytes, with a zero at the end."""
_LEAST_SLOT_MIB = 128
_BACKLOG = 128


@dataclass(slots=True)
class Configuration:
    """The resources of one machine, as JSON, and the open files that belong to them (see `descriptors`)."""

    machine: dict[str, Any] = field(default_factory=lambda: dict(_DEFAULT_MACHINE))
    boot_source: dict[str, Any] | None = None
    drives: dict[str, dict[str, Any]] = field(default_factory=dict)
    interfaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    pmem: dict[str, dict[str, Any]] = field(default_factory=dict)
    vsock: dict[str, Any] | None = None
    entropy: dict[str, Any] | None = None
    balloon: dict[str, Any] | None = None
    memory_hotplug: dict[str, Any] | None = None
    mmds_config: dict[str, Any] | None = None
    cpu_config: dict[str, Any] | None = None
    touched: bool = False
    """Whether something was configured that a snapshot brings along itself."""
    descriptors: dict[str, int] = field(default_factory=dict)
    """By what they are for: `kernel`, `initrd`, `drive:ID`, `tap:ID`."""
    listener: socket.socket | None = None
    """The hosts' socket of the vsock, which is there as soon as the vsock is configured."""

    def put_machine(self, body: dict[str, Any]) -> None:
        """Take a full machine configuration. Raises `Fault`."""
        self._set_machine(dict(_DEFAULT_MACHINE) | body)

    def patch_machine(self, body: dict[str, Any]) -> None:
        """Take a part of one. Raises `Fault`."""
        self._set_machine(self.machine | body)

    def _set_machine(self, wanted: dict[str, Any]) -> None:
        size, vcpus = wanted["mem_size_mib"], wanted["vcpu_count"]
        prefix = "Machine config error:"
        if not 0 < vcpus <= _MOST_VCPUS or (wanted["smt"] and vcpus != 1 and vcpus % 2):
            raise Fault(
                f"{prefix} The number of vCPUs must be greater than 0, less than {_MOST_VCPUS} and must be "
                "1 or an even number if SMT is enabled."
            )
        if not 0 < size <= _MOST_MIB or (wanted["huge_pages"] == "2M" and size % 2):
            raise Fault(
                f"{prefix} The memory size (MiB) is either 0, or not a multiple of the configured page size."
            )
        if self.balloon is not None and self.balloon["amount_mib"] > size:
            raise Fault(
                f"{prefix} The memory size (MiB) is smaller than the previously set balloon device target "
                "size."
            )
        self.machine = wanted
        self.touched = True

    def put_boot_source(self, body: dict[str, Any]) -> None:
        """Take kernel, initramfs and arguments; opens the files. Raises `Fault`."""
        prefix = "Boot source error: The"
        if len(body.get("boot_args", "").encode()) > _LONGEST_BOOT_ARGS:
            raise Fault(f"{prefix} kernel command line is invalid: Invalid cmdline capacity provided.")
        kernel = _opened(body["kernel_image_path"], f"{prefix} kernel file cannot be opened:")
        initrd = None
        if "initrd_path" in body:
            words = "initrd file cannot be opened due to invalid path or invalid permissions."
            initrd = _opened(body["initrd_path"], f"{prefix} {words}")
        self._keep("kernel", kernel)
        self._keep("initrd", initrd)
        self.boot_source = body
        self.touched = True

    def put_drive(self, body: dict[str, Any]) -> None:
        """Take a drive; opens its file. Raises `Fault`."""
        name = body["drive_id"]
        if "socket" in body:
            raise Fault(
                "Drive config error: Unable to create the vhost-user block device: this peer has no such "
                "device."
            )
        if "path_on_host" not in body:
            raise Fault("Drive config error: Unable to create the virtio block device: Invalid block config.")
        others = (drive["is_root_device"] for key, drive in self.drives.items() if key != name)
        if body["is_root_device"] and any(others):
            raise Fault("Drive config error: A root block device already exists!")
        self.open_drive(body)
        self.drives[name] = {"cache_type": "Unsafe", "io_engine": "Sync", "is_read_only": False} | body
        self.touched = True

    def open_drive(self, drive: dict[str, Any]) -> None:
        """Open the file of a drive. Raises `Fault`."""
        flags = os.O_RDONLY if drive.get("is_read_only", False) else os.O_RDWR
        path = drive["path_on_host"]
        prefix = "Drive config error: Unable to create the virtio block device: Virtio backend error:"
        opened = _opened(path, f"{prefix} Error manipulating the backing file:", flags, path)
        self._keep(f"drive:{drive['drive_id']}", opened)

    def put_interface(self, body: dict[str, Any]) -> None:
        """Take a network interface; opens its TAP device. Raises `Fault`."""
        name = body["iface_id"]
        others = [other.get("guest_mac") for key, other in self.interfaces.items() if key != name]
        if "guest_mac" in body and body["guest_mac"] in others:
            raise Fault(f"Network config error: The MAC address is already in use: {body['guest_mac']}")
        self.open_tap(body)
        self.interfaces[name] = body
        self.touched = True

    def open_tap(self, interface: dict[str, Any]) -> None:
        """Open the TAP device of an interface. Raises `Fault`."""
        name = f"tap:{interface['iface_id']}"
        self._keep(name, None)  # a TAP device is busy as long as it is open
        self._keep(name, _tap(interface["host_dev_name"]))

    def put_vsock(self, body: dict[str, Any]) -> None:
        """Take the vsock, and bind its socket. Raises `Fault`."""
        self.listen(body["uds_path"])
        self.vsock = body
        self.touched = True

    def listen(self, path: str) -> None:
        """Make the hosts' socket of the vsock at `path`, where nothing may be; an earlier one ends.

        Raises `Fault`.
        """
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            prefix = (
                "Vsock config error: Cannot create backend for vsock device: Error binding to the "
                "host-side Unix socket:"
            )
            raise Fault(f"{prefix} {spoken(error)}") from error
        if self.listener is not None:
            self.listener.close()
        self.listener = listener

    def put_balloon(self, body: dict[str, Any]) -> None:
        """Take the balloon. Raises `Fault`."""
        if body["amount_mib"] > self.machine["mem_size_mib"]:
            raise Fault("Balloon config error: Amount of pages requested is too large.")
        defaults = {"stats_polling_interval_s": 0, "free_page_hinting": False, "free_page_reporting": False}
        self.balloon = defaults | body
        self.touched = True

    def put_memory_hotplug(self, body: dict[str, Any]) -> None:
        """Take the hotpluggable memory. Raises `Fault`."""
        wanted = {"total_size_mib": 0, "block_size_mib": 2, "slot_size_mib": 128} | body
        total, block, slot = wanted["total_size_mib"], wanted["block_size_mib"], wanted["slot_size_mib"]
        for wrong, what in (
            (block < 2, "Block size must not be lower than 2 MiB"),
            (block & (block - 1), "Block size must be a power of 2"),
            (slot < _LEAST_SLOT_MIB, f"Slot size must not be lower than {_LEAST_SLOT_MIB} MiB"),
            (slot % block, f"Slot size must be a multiple of block size ({block} MiB)"),
            (total < slot, f"Total size must not be lower than slot size ({slot} MiB)"),
            (total % slot, f"Total size must be a multiple of slot size ({slot} MiB)"),
        ):
            if wrong:
                raise Fault(f"Memory hotplug config error: {what}")
        self.memory_hotplug = wanted
        self.touched = True

    def put_mmds_config(self, body: dict[str, Any]) -> None:
        """Take the MMDS configuration. Raises `Fault`."""
        prefix = "MMMDS config error: The list of network interface IDs"
        if not body["network_interfaces"]:
            raise Fault(f"{prefix} that allow forwarding MMDS requests is empty.")
        unknown = [name for name in body["network_interfaces"] if name not in self.interfaces]
        if unknown:
            raise Fault(
                f"{prefix} provided contains at least one ID that does not correspond to any existing "
                "network interface."
            )
        self.mmds_config = body
        self.touched = True

    def saved(self) -> dict[str, Any]:
        """Return what a snapshot holds: no kernel, no log, no MMDS data."""
        names = (
            "machine",
            "drives",
            "interfaces",
            "vsock",
            "entropy",
            "balloon",
            "memory_hotplug",
            "mmds_config",
        )
        return {name: getattr(self, name) for name in names}

    def described(self) -> dict[str, Any]:
        """Return what `GET /vm/config` answers."""
        drives = sorted(self.drives.values(), key=lambda drive: not drive["is_root_device"])
        return {
            "boot-source": {"kernel_image_path": "", "initrd_path": None, "boot_args": None}
            | (self.boot_source or {}),
            "balloon": self.balloon,
            "cpu-config": self.cpu_config,
            "drives": [_whole_drive(drive) for drive in drives],
            "entropy": None
            if self.entropy is None
            else {"rate_limiter": _whole_limiter(self.entropy.get("rate_limiter"))},
            "logger": None,
            "machine-config": self.described_machine(),
            "memory-hotplug": self.memory_hotplug,
            "metrics": None,
            "mmds-config": self.mmds_config,
            "network-interfaces": list(self.interfaces.values()),
            "pmem": list(self.pmem.values()),
            "vsock": self.vsock,
        }

    def described_machine(self) -> dict[str, Any]:
        """Return what `GET /machine-config` answers."""
        return {
            name: value for name, value in self.machine.items() if (name, value) != ("cpu_template", "None")
        }

    def _keep(self, name: str, descriptor: int | None) -> None:
        old = self.descriptors.pop(name, None)
        if old is not None:
            os.close(old)
        if descriptor is not None:
            self.descriptors[name] = descriptor


def restored(saved: dict[str, Any], overrides: Callable[[Configuration], None]) -> Configuration:
    """Return the configuration that a snapshot holds, with what it names opened anew.

    Args:
        saved: What `Configuration.saved` returned.
        overrides: Changes names before anything is opened.
    """
    configuration = Configuration(**saved)
    overrides(configuration)
    for drive in configuration.drives.values():
        configuration.open_drive(drive)
    for interface in configuration.interfaces.values():
        configuration.open_tap(interface)
    if configuration.vsock is not None:
        configuration.listen(configuration.vsock["uds_path"])
    return configuration


def _whole_drive(drive: dict[str, Any]) -> dict[str, Any]:
    whole = {"partuuid": None, "path_on_host": None, "rate_limiter": None, "socket": None} | drive
    return whole | {"rate_limiter": _whole_limiter(whole["rate_limiter"])}


def _whole_limiter(limiter: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a limiter with all of its fields; None for one that bounds nothing."""
    buckets = {name: (limiter or {}).get(name) for name in ("bandwidth", "ops")}
    whole = {name: bucket and {"one_time_burst": None} | bucket for name, bucket in buckets.items()}
    return whole if any(buckets.values()) else None


def _opened(path: str, prefix: str, flags: int = os.O_RDONLY, told: str = "") -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise Fault(f"{prefix} {spoken(error)} {told}".rstrip()) from error


def _tap(name: str) -> int:
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if len(name.encode()) > 15:
                raise OSError(22, "invalid name")
            fcntl.ioctl(descriptor, _SETIFF, struct.pack("16sH22x", name.encode(), _TAP))
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        return descriptor
    except OSError as error:
        raise Fault(
            "Network config error: Could not create the network device: Open tap device failed:"
            f" {spoken(error)}. Invalid TUN/TAP {name}."
        ) from error
