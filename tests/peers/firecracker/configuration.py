"""What was asked for before the start: checked as it comes, with the files opened that the machine will use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.faults import Fault, spoken

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_BOOT_ARGS = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
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

    def put_machine(self, body: dict[str, Any]) -> None:
        """Take a full machine configuration. Raises `Fault`."""
        self._set_machine(dict(_DEFAULT_MACHINE) | body)

    def patch_machine(self, body: dict[str, Any]) -> None:
        """Take a part of one. Raises `Fault`."""
        self._set_machine(self.machine | body)

    def _set_machine(self, wanted: dict[str, Any]) -> None:
        size, vcpus = wanted["mem_size_mib"], wanted["vcpu_count"]
        if not 0 < size <= _MOST_MIB or (wanted["huge_pages"] == "2M" and size % 2):
            raise Fault("The memory size (MiB) is either 0, or not a multiple of the configured page size.")
        if wanted["smt"] and vcpus != 1 and vcpus % 2:
            raise Fault("The vCPU number is invalid: with SMT it must be 1 or even.")
        if self.balloon is not None and self.balloon["amount_mib"] > size:
            raise Fault("The memory size (MiB) is smaller than the previously set balloon device target size.")
        self.machine = wanted
        self.touched = True

    def put_boot_source(self, body: dict[str, Any]) -> None:
        """Take kernel, initramfs and arguments; opens the files. Raises `Fault`."""
        kernel = _opened(body["kernel_image_path"], "The kernel file cannot be opened:")
        initrd = None
        if "initrd_path" in body:
            initrd = _opened(body["initrd_path"], "The initrd file cannot be opened due to invalid path or invalid permissions.")
        self._keep("kernel", kernel)
        self._keep("initrd", initrd)
        self.boot_source = {"boot_args": DEFAULT_BOOT_ARGS} | body
        self.touched = True

    def put_drive(self, body: dict[str, Any]) -> None:
        """Take a drive; opens its file. Raises `Fault`."""
        name = body["drive_id"]
        if "socket" in body:
            raise Fault("Unable to create the vhost-user block device: this peer has no such device.")
        if "path_on_host" not in body:
            raise Fault("Unable to create the block device: path_on_host is required.")
        others = (drive["is_root_device"] for key, drive in self.drives.items() if key != name)
        if body["is_root_device"] and any(others):
            raise Fault("A root block device already exists!")
        self.open_drive(body)
        self.drives[name] = {"cache_type": "Unsafe", "io_engine": "Sync", "is_read_only": False} | body
        self.touched = True

    def open_drive(self, drive: dict[str, Any]) -> None:
        """Open the file of a drive. Raises `Fault`."""
        flags = os.O_RDONLY if drive.get("is_read_only", False) else os.O_RDWR
        prefix = "Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file:"
        self._keep(f"drive:{drive['drive_id']}", _opened(drive["path_on_host"], prefix, flags))

    def put_interface(self, body: dict[str, Any]) -> None:
        """Take a network interface; opens its TAP device. Raises `Fault`."""
        name = body["iface_id"]
        if "guest_mac" in body:
            if not _MAC.fullmatch(body["guest_mac"]):
                raise Fault(f"The MAC address is malformed: {body['guest_mac']}.")
            if any(other.get("guest_mac") == body["guest_mac"] for key, other in self.interfaces.items() if key != name):
                raise Fault(f"The MAC address is already in use: {body['guest_mac']}")
        self.open_tap(body)
        self.interfaces[name] = body
        self.touched = True

    def open_tap(self, interface: dict[str, Any]) -> None:
        """Open the TAP device of an interface. Raises `Fault`."""
        name = f"tap:{interface['iface_id']}"
        self._keep(name, None)  # a TAP device is busy as long as it is open
        self._keep(name, _tap(interface["host_dev_name"]))

    def put_vsock(self, body: dict[str, Any]) -> None:
        """Take the vsock. Its socket is bound at the start."""
        self.vsock = body
        self.touched = True

    def put_balloon(self, body: dict[str, Any]) -> None:
        """Take the balloon. Raises `Fault`."""
        if body["amount_mib"] > self.machine["mem_size_mib"]:
            raise Fault("Amount of pages requested is too large: the balloon cannot exceed the guest's memory.")
        defaults = {"stats_polling_interval_s": 0, "free_page_hinting": False, "free_page_reporting": False}
        self.balloon = defaults | body
        self.touched = True

    def put_memory_hotplug(self, body: dict[str, Any]) -> None:
        """Take the hotpluggable memory. Raises `Fault`."""
        wanted = {"total_size_mib": 0, "block_size_mib": 2, "slot_size_mib": 128} | body
        total, block, slot = wanted["total_size_mib"], wanted["block_size_mib"], wanted["slot_size_mib"]
        if block & (block - 1) or slot % block or total < slot or total % slot:
            raise Fault("Memory hotplug: total size, slot size and block size do not fit each other.")
        self.memory_hotplug = wanted
        self.touched = True

    def put_mmds_config(self, body: dict[str, Any]) -> None:
        """Take the MMDS configuration. Raises `Fault`."""
        if not body["network_interfaces"]:
            raise Fault("The list of network interface IDs that allow MMDS requests is empty.")
        unknown = [name for name in body["network_interfaces"] if name not in self.interfaces]
        if unknown:
            raise Fault(f"The list of network interface IDs provided contains at least one ID that does not exist: {unknown[0]}")
        self.mmds_config = body
        self.touched = True

    def saved(self) -> dict[str, Any]:
        """Return what a snapshot holds: no kernel, no log, no MMDS data."""
        names = ("machine", "drives", "interfaces", "vsock", "entropy", "balloon", "memory_hotplug", "mmds_config")
        return {name: getattr(self, name) for name in names}

    def described(self) -> dict[str, Any]:
        """Return what `GET /vm/config` answers."""
        found: dict[str, Any] = {
            "boot-source": self.boot_source,
            "balloon": self.balloon,
            "cpu-config": self.cpu_config,
            "drives": list(self.drives.values()),
            "entropy": self.entropy,
            "machine-config": self.machine,
            "memory-hotplug": self.memory_hotplug,
            "mmds-config": self.mmds_config,
            "network-interfaces": list(self.interfaces.values()),
            "pmem": list(self.pmem.values()),
            "vsock": self.vsock,
        }
        return {name: value for name, value in found.items() if value is not None}

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
    return configuration


def check_free(path: str) -> None:
    """Check that the vsock's socket can be bound. Raises `Fault` when something is there already."""
    if Path(path).exists() or Path(path).is_symlink():
        raise Fault(
            "Cannot create backend for vsock device: Error binding to the host-side Unix socket: Address in use (os error 98)"
        )


def _opened(path: str, prefix: str, flags: int = os.O_RDONLY) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise Fault(f"{prefix} {spoken(error)} {path}") from error


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
            f"Could not create the network device: Open tap device failed: {spoken(error)}. Invalid TUN/TAP {name}."
        ) from error
