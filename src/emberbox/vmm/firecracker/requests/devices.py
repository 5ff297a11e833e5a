"""Requests that give a machine its devices, such as drives, network, vsock and balloon."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from emberbox.errors import InvalidInput
from emberbox.vmm.firecracker.requests.request import (
    LARGEST_U32,
    Request,
    check_choice,
    check_flag,
    check_id,
    check_number,
    check_text,
)

_LARGEST_I64 = 2**63 - 1
_LARGEST_U16 = 65_535
_SLOT_MIB = 128
_BLOCK_MIB = 2
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """A budget that gets `size` tokens (bytes or requests) each `refill_time` ms; 0 is no bound.

    Args:
        size: Tokens that the bucket holds.
        refill_time: Milliseconds until an empty bucket is full.
        one_time_burst: Tokens given once, at first, on top.
    """

    size: int
    refill_time: int
    one_time_burst: int | None = None

    def __post_init__(self) -> None:
        check_number("size", self.size, 0, _LARGEST_I64)
        check_number("refill_time", self.refill_time, 0, _LARGEST_I64)
        check_number("one_time_burst", self.one_time_burst, 0, _LARGEST_I64, optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiter:
    """Bounds of a device's bytes and of its requests; None for no bound, or on an update for no change."""

    bandwidth: TokenBucket | None = None
    ops: TokenBucket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveConfig(Request):
    """A block device, /dev/vda first.

    `path_on_host` is a path inside the jail; `partuuid` counts for a root device only.
    """

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/drives/{drive_id}"

    drive_id: str
    path_on_host: str
    is_read_only: bool = True
    is_root_device: bool = False
    partuuid: str | None = None
    cache_type: str | None = None
    io_engine: str | None = None
    rate_limiter: RateLimiter | None = None

    def __post_init__(self) -> None:
        check_id("drive_id", self.drive_id)
        check_text("path_on_host", self.path_on_host)
        check_text("partuuid", self.partuuid, optional=True)
        check_flag("is_read_only", self.is_read_only, optional=False)
        check_flag("is_root_device", self.is_root_device, optional=False)
        check_choice("cache_type", self.cache_type, ("Unsafe", "Writeback"))
        check_choice("io_engine", self.io_engine, ("Sync", "Async"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveUpdate(Request):
    """Another file or other bounds for a drive of a machine that runs."""

    method: ClassVar[str] = "PATCH"
    route: ClassVar[str] = "/drives/{drive_id}"

    drive_id: str
    path_on_host: str | None = None
    rate_limiter: RateLimiter | None = None

    def __post_init__(self) -> None:
        check_id("drive_id", self.drive_id)
        check_text("path_on_host", self.path_on_host, optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterface(Request):
    """A network device on the TAP `host_dev_name`; an `mtu` of None leaves the guest its own."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/network-interfaces/{iface_id}"

    iface_id: str
    host_dev_name: str
    guest_mac: str | None = None
    rx_rate_limiter: RateLimiter | None = None
    tx_rate_limiter: RateLimiter | None = None
    mtu: int | None = None

    def __post_init__(self) -> None:
        check_id("iface_id", self.iface_id)
        check_tap(self.host_dev_name)
        check_number("mtu", self.mtu, 68, 65_535, optional=True)
        if self.guest_mac is not None and not _MAC.fullmatch(self.guest_mac):
            raise InvalidInput(
                f"guest_mac {self.guest_mac!r}: six pairs of hexadecimal digits with ':' between them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterfaceUpdate(Request):
    """Other bounds for the network device of a machine that runs; rx is what the guest receives."""

    method: ClassVar[str] = "PATCH"
    route: ClassVar[str] = "/network-interfaces/{iface_id}"

    iface_id: str
    rx_rate_limiter: RateLimiter | None = None
    tx_rate_limiter: RateLimiter | None = None

    def __post_init__(self) -> None:
        check_id("iface_id", self.iface_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vsock(Request):
    """The vsock device: Firecracker makes and listens on `uds_path`, which must not exist."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/vsock"

    guest_cid: int
    uds_path: str

    def __post_init__(self) -> None:
        check_number("guest_cid", self.guest_cid, 3, LARGEST_U32)
        check_text("uds_path", self.uds_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyDevice(Request):
    """A virtio-rng device that takes from the host's own generator."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/entropy"

    rate_limiter: RateLimiter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balloon(Request):
    """The balloon device.

    An interval that is neither None nor 0 turns its statistics on, which cannot be done later.
    """

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/balloon"

    amount_mib: int
    deflate_on_oom: bool
    stats_polling_interval_s: int | None = None
    free_page_hinting: bool | None = None
    free_page_reporting: bool | None = None

    def __post_init__(self) -> None:
        check_number("amount_mib", self.amount_mib, 0, LARGEST_U32)
        check_number(
            "stats_polling_interval_s", self.stats_polling_interval_s, 0, _LARGEST_U16, optional=True
        )
        check_flag("deflate_on_oom", self.deflate_on_oom, optional=False)
        check_flag("free_page_hinting", self.free_page_hinting)
        check_flag("free_page_reporting", self.free_page_reporting)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalloonUpdate(Request):
    """Another target of the balloon, in MiB taken from the guest."""

    method: ClassVar[str] = "PATCH"
    route: ClassVar[str] = "/balloon"

    amount_mib: int

    def __post_init__(self) -> None:
        check_number("amount_mib", self.amount_mib, 0, LARGEST_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHotplug(Request):
    """Memory that can be plugged in later (virtio-mem), in MiB; a slot of None is 128, a block of None is 2.

    `total_size_mib` is a multiple of the slot, the slot a multiple of the block, and the block a
    power of two.
    """

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/hotplug/memory"

    total_size_mib: int
    slot_size_mib: int | None = None
    block_size_mib: int | None = None

    def __post_init__(self) -> None:
        check_number("total_size_mib", self.total_size_mib, 1, LARGEST_U32)
        check_number("slot_size_mib", self.slot_size_mib, _SLOT_MIB, LARGEST_U32, optional=True)
        check_number("block_size_mib", self.block_size_mib, _BLOCK_MIB, LARGEST_U32, optional=True)
        slot, block = self.slot_size_mib or _SLOT_MIB, self.block_size_mib or _BLOCK_MIB
        if block & (block - 1) or slot % block or self.total_size_mib % slot:
            raise InvalidInput(
                f"hotpluggable memory of {self.total_size_mib} MiB in slots of {slot} and blocks of "
                f"{block}: the block must be a power of two, the slot a multiple of it, and the total a "
                "multiple of the slot"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHotplugUpdate(Request):
    """How much of the hotpluggable memory the guest is to have, in MiB; a multiple of the block."""

    method: ClassVar[str] = "PATCH"
    route: ClassVar[str] = "/hotplug/memory"

    requested_size_mib: int

    def __post_init__(self) -> None:
        check_number("requested_size_mib", self.requested_size_mib, 0, LARGEST_U32)


def check_tap(name: str) -> None:
    """Raise `InvalidInput` for what Linux does not take as the name of a network device."""
    if (
        not isinstance(name, str)
        or not 0 < len(name.encode(errors="replace")) <= 15
        or re.search(r"[/\s\0]", name)
    ):
        raise InvalidInput(
            f"host_dev_name {name!r}: a TAP device's name, 1 to 15 bytes without '/' and white space"
        )
