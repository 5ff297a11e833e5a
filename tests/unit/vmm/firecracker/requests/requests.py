"""Requests of every class that there is: at random for property tests, and one by one for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from emberbox.vmm.firecracker.requests import bodies, devices

if TYPE_CHECKING:
    from emberbox.vmm.firecracker.requests.request import Request

_I64 = st.integers(0, 2**63 - 1)
_U32 = st.integers(0, 2**32 - 1)
_ID = st.from_regex(r"[A-Za-z0-9_]{1,64}", fullmatch=True)
_PATH = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
_TAP = st.from_regex(r"[a-z0-9-]{1,15}", fullmatch=True)
_FLAG = st.none() | st.booleans()
_BUCKET = st.builds(devices.TokenBucket, size=_I64, refill_time=_I64, one_time_burst=st.none() | _I64)
_LIMITER = st.none() | st.builds(devices.RateLimiter, bandwidth=st.none() | _BUCKET, ops=st.none() | _BUCKET)
_SIZE = {
    "vcpu_count": st.sampled_from([1, 2, 4, 32]),
    "mem_size_mib": st.integers(1, 2**20).map(lambda mib: mib * 2),
}
_MORE = {
    "smt": _FLAG,
    "track_dirty_pages": _FLAG,
    "huge_pages": st.sampled_from([None, "None", "Transparent", "2M"]),
}
_MAC = st.from_regex(r"02(:[0-9a-f]{2}){5}", fullmatch=True)
_INTERVAL = st.integers(1, 65_535)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _choice(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names)


def _hotplug(block: int, slots: int, count: int) -> devices.MemoryHotplug:
    slot = max(block, 128) * slots
    return devices.MemoryHotplug(total_size_mib=slot * count, slot_size_mib=slot, block_size_mib=block)


STRATEGIES: dict[type[Request], st.SearchStrategy[Any]] = {
    bodies.BootSource: st.builds(
        bodies.BootSource, kernel_image_path=_PATH, initrd_path=_maybe(_PATH), boot_args=_maybe(_PATH)
    ),
    devices.DriveConfig: st.builds(
        devices.DriveConfig,
        drive_id=_ID,
        path_on_host=_PATH,
        is_read_only=st.booleans(),
        is_root_device=st.booleans(),
        partuuid=_maybe(_PATH),
        cache_type=_maybe(_choice("Unsafe", "Writeback")),
        io_engine=_maybe(_choice("Sync", "Async")),
        rate_limiter=_LIMITER,
    ),
    devices.DriveUpdate: st.builds(
        devices.DriveUpdate, drive_id=_ID, path_on_host=_maybe(_PATH), rate_limiter=_LIMITER
    ),
    bodies.MachineConfiguration: st.builds(bodies.MachineConfiguration, **_SIZE, **_MORE),
    devices.NetworkInterface: st.builds(
        devices.NetworkInterface,
        iface_id=_ID,
        host_dev_name=_TAP,
        guest_mac=_maybe(_MAC),
        rx_rate_limiter=_LIMITER,
        tx_rate_limiter=_LIMITER,
        mtu=_maybe(st.integers(68, 65_535)),
    ),
    devices.NetworkInterfaceUpdate: st.builds(
        devices.NetworkInterfaceUpdate, iface_id=_ID, rx_rate_limiter=_LIMITER, tx_rate_limiter=_LIMITER
    ),
    devices.Vsock: st.builds(devices.Vsock, guest_cid=st.integers(3, 2**32 - 1), uds_path=_PATH),
    devices.EntropyDevice: st.builds(devices.EntropyDevice, rate_limiter=_LIMITER),
    devices.Balloon: st.builds(
        devices.Balloon,
        amount_mib=_U32,
        deflate_on_oom=st.booleans(),
        stats_polling_interval_s=_maybe(_INTERVAL),
        free_page_hinting=_FLAG,
        free_page_reporting=_FLAG,
    ),
    devices.BalloonUpdate: st.builds(devices.BalloonUpdate, amount_mib=_U32),
    bodies.Action: st.builds(
        bodies.Action, action_type=_choice("InstanceStart", "FlushMetrics", "SendCtrlAltDel")
    ),
    bodies.VmState: st.builds(bodies.VmState, state=_choice("Paused", "Resumed")),
    bodies.SnapshotCreate: st.builds(
        bodies.SnapshotCreate, snapshot_path=_PATH, mem_file_path=_PATH, snapshot_type=_choice("Full", "Diff")
    ),
    bodies.SnapshotLoad: st.builds(
        bodies.SnapshotLoad,
        snapshot_path=_PATH,
        resume_vm=_FLAG,
        vsock_uds_path=_maybe(_PATH),
        clock_realtime=_FLAG,
        mem_backend=st.builds(bodies.MemoryBackend, backend_path=_PATH, backend_type=st.just("Uffd")),
        network_overrides=st.lists(
            st.builds(bodies.NetworkOverride, iface_id=_ID, host_dev_name=_TAP), max_size=2
        ).map(tuple),
        track_dirty_pages=_FLAG,
        huge_pages=_maybe(_choice("Snapshot", "None", "Transparent", "2M")),
    ),
    devices.MemoryHotplug: st.builds(
        _hotplug, block=st.sampled_from([2, 128, 512]), slots=st.integers(1, 9), count=st.integers(1, 9)
    ),
    devices.MemoryHotplugUpdate: st.builds(devices.MemoryHotplugUpdate, requested_size_mib=_U32),
}
