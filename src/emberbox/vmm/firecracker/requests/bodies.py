"""The requests to Firecracker's API about a machine as a whole; `devices` has the others.

Each is frozen, checks itself (`InvalidInput`) and knows its method and path; fields have the names
that the API gives them. Source: Firecracker's API description, releases 1.16 and 1.17. Left out on
purpose: requests that nothing here makes, such as those of the metadata service; block devices
behind a vhost-user socket; and what the description calls deprecated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from emberbox.errors import InvalidInput
from emberbox.vmm.firecracker.requests.devices import check_tap
from emberbox.vmm.firecracker.requests.request import (
    Request,
    check_choice,
    check_flag,
    check_id,
    check_number,
    check_text,
    values_of,
)

_LARGEST_MEMORY_MIB = 2**31 - 1
_HUGE_PAGES = ("None", "Transparent", "2M")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSource(Request):
    """The kernel (an ELF vmlinux on x86-64), its initrd and its command line.

    Without `boot_args` Firecracker takes its own.
    """

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/boot-source"

    kernel_image_path: str
    initrd_path: str | None = None
    boot_args: str | None = None

    def __post_init__(self) -> None:
        check_text("kernel_image_path", self.kernel_image_path)
        check_text("initrd_path", self.initrd_path, optional=True)
        check_text("boot_args", self.boot_args, optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfiguration(Request):
    """The size of a machine that has not started: 1 to 32 vCPUs, with `smt` 1 or an even number."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/machine-config"

    vcpu_count: int
    mem_size_mib: int
    smt: bool | None = None
    track_dirty_pages: bool | None = None
    huge_pages: str | None = None

    def __post_init__(self) -> None:
        check_number("vcpu_count", self.vcpu_count, 1, 32)
        check_number("mem_size_mib", self.mem_size_mib, 1, _LARGEST_MEMORY_MIB)
        check_flag("smt", self.smt)
        check_flag("track_dirty_pages", self.track_dirty_pages)
        check_choice("huge_pages", self.huge_pages, _HUGE_PAGES)
        if self.smt and self.vcpu_count > 1 and self.vcpu_count % 2:
            raise InvalidInput(f"vcpu_count {self.vcpu_count}: with smt 1 or an even number")
        if self.huge_pages == "2M" and self.mem_size_mib % 2:
            raise InvalidInput(f"mem_size_mib {self.mem_size_mib}: with huge pages of 2 MiB an even number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Request):
    """InstanceStart, FlushMetrics or SendCtrlAltDel."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/actions"

    action_type: str

    def __post_init__(self) -> None:
        check_choice(
            "action_type",
            self.action_type,
            ("InstanceStart", "FlushMetrics", "SendCtrlAltDel"),
            optional=False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VmState(Request):
    """Stop the vCPUs (Paused) or let them run (Resumed)."""

    method: ClassVar[str] = "PATCH"
    route: ClassVar[str] = "/vm"

    state: str

    def __post_init__(self) -> None:
        check_choice("state", self.state, ("Paused", "Resumed"), optional=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCreate(Request):
    """Write the state and the memory of a paused machine. The API answers nothing else meanwhile."""

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/snapshot/create"

    snapshot_path: str
    mem_file_path: str
    snapshot_type: str = "Full"

    def __post_init__(self) -> None:
        check_text("snapshot_path", self.snapshot_path)
        check_text("mem_file_path", self.mem_file_path)
        check_choice("snapshot_type", self.snapshot_type, ("Full", "Diff"), optional=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBackend:
    """The source of a clone's memory: a file, mapped privately, or a socket for page faults (Uffd)."""

    backend_path: str
    backend_type: str = "File"

    def __post_init__(self) -> None:
        check_text("backend_path", self.backend_path)
        check_choice("backend_type", self.backend_type, ("File", "Uffd"), optional=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOverride:
    """Another TAP device than the one that the snapshot names."""

    iface_id: str
    host_dev_name: str

    def __post_init__(self) -> None:
        check_id("iface_id", self.iface_id)
        check_tap(self.host_dev_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLoad(Request):
    """Become the machine of a snapshot; only as the first request but for logger and metrics.

    `vsock_uds_path` travels as `vsock_override`; `clock_realtime` moves the guest's clock on by the
    time since the snapshot.
    """

    method: ClassVar[str] = "PUT"
    route: ClassVar[str] = "/snapshot/load"

    snapshot_path: str
    mem_backend: MemoryBackend
    resume_vm: bool | None = None
    network_overrides: tuple[NetworkOverride, ...] = ()
    vsock_uds_path: str | None = None
    clock_realtime: bool | None = None
    track_dirty_pages: bool | None = None
    huge_pages: str | None = None

    def __post_init__(self) -> None:
        check_text("snapshot_path", self.snapshot_path)
        check_text("vsock_uds_path", self.vsock_uds_path, optional=True)
        for name in ("resume_vm", "clock_realtime", "track_dirty_pages"):
            check_flag(name, getattr(self, name))
        check_choice("huge_pages", self.huge_pages, ("Snapshot", *_HUGE_PAGES))
        if self.huge_pages == "2M" and self.mem_backend.backend_type != "Uffd":
            raise InvalidInput("huge_pages 2M: needs a memory backend of type Uffd")

    def body(self) -> dict[str, Any] | None:
        """Return the request as JSON; empty overrides are left out, since an older release knows none."""
        told = values_of(self)
        if not told["network_overrides"]:
            del told["network_overrides"]
        if (uds_path := told.pop("vsock_uds_path", None)) is not None:
            told["vsock_override"] = {"uds_path": uds_path}
        return told
