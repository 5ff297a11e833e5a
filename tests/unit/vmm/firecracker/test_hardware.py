from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emberbox.vmm.base import Drive, MachineSpec, NetworkAttachment, Rates
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.launch import charged_mib
from emberbox.vmm.firecracker.requests.bodies import BootSource
from emberbox.vmm.firecracker.requests.devices import DriveConfig, MemoryHotplug, NetworkInterface
from emberbox.vmm.process.bounds import group_limits

SPEC = MachineSpec(
    id="abc-1",
    run_dir=Path("/run/abc-1"),
    vcpus=2,
    memory_mib=256,
    kernel=Path("/k"),
    initramfs=Path("/i"),
    drives=(Drive(path=Path("/d")), Drive(path=Path("/w"), read_only=False)),
    kernel_args=("a=1",),
)
NETWORK = NetworkAttachment(tap="tap7", mac="02:00:00:00:00:07")


def bodies(spec: MachineSpec, rates: Rates | None = None) -> dict[str, dict[str, object]]:
    return {request.path: request.body() or {} for request in hardware.boot(spec, rates=rates)}


def test_the_command_line_is_always_sent_and_names_the_channel() -> None:
    (source,) = (request for request in hardware.boot(SPEC, rates=None) if isinstance(request, BootSource))
    words = (source.boot_args or "").split()
    assert "emberbox.channel=vsock:1024" in words
    assert words[-1] == "a=1"
    assert "nomodule" not in words
    assert {"reboot=k", "panic=-1"} <= set(words), (
        "a guest that ends by anything but a reboot never ends Firecracker"
    )


def test_only_a_kernel_that_may_grow_is_told_to_use_what_is_plugged_in() -> None:
    for most, told in ((None, False), (SPEC.memory_mib, False), (1024, True)):
        requests = hardware.boot(replace(SPEC, memory_max_mib=most), rates=None)
        (line,) = (request.boot_args or "" for request in requests if isinstance(request, BootSource))
        assert ("memhp_default_state=online_movable" in line.split()) is told


def test_no_drive_is_the_root_device_since_there_is_an_initrd() -> None:
    drives = [request for request in hardware.boot(SPEC, rates=None) if isinstance(request, DriveConfig)]
    assert [(d.drive_id, d.path_on_host, d.is_read_only, d.is_root_device) for d in drives] == [
        ("drive0", "/drives/0", True, False),
        ("drive1", "/drives/1", False, False),
    ]


def test_every_path_is_one_inside_the_jail() -> None:
    told = str(bodies(SPEC)) + str(hardware.load(SPEC, clock=True).body())
    for outside in ("/run/abc-1", "'/k'", "'/i'", "'/d'", "'/w'"):
        assert outside not in told


def test_rates_become_limiters_of_one_second() -> None:
    rates = Rates(disk_bytes_per_s=5, disk_ops_per_s=7, network_bytes_per_s=9)
    told = bodies(replace(SPEC, network=NETWORK), rates)
    limiter = {"bandwidth": {"size": 5, "refill_time": 1000}, "ops": {"size": 7, "refill_time": 1000}}
    assert told["/drives/drive0"]["rate_limiter"] == limiter
    network = {"bandwidth": {"size": 9, "refill_time": 1000}}
    assert told["/network-interfaces/eth0"]["rx_rate_limiter"] == network
    assert told["/network-interfaces/eth0"]["tx_rate_limiter"] == network
    unbounded = bodies(replace(SPEC, network=NETWORK))
    assert "rate_limiter" not in unbounded["/drives/drive0"]


def test_a_clone_is_bounded_after_its_restore_as_its_spec_says() -> None:
    assert hardware.bounds(SPEC) == []
    clone = replace(SPEC, network=NETWORK, rates=Rates(disk_ops_per_s=7, network_bytes_per_s=9))
    assert [request.path for request in hardware.bounds(clone)] == [
        "/drives/drive0",
        "/drives/drive1",
        "/network-interfaces/eth0",
    ]
    assert [request.method for request in hardware.bounds(clone)] == ["PATCH"] * 3


def test_a_clone_gets_its_own_tap_and_its_own_clock() -> None:
    told = hardware.load(replace(SPEC, network=NETWORK), clock=True).body() or {}
    assert told["network_overrides"] == [{"iface_id": "eth0", "host_dev_name": "tap7"}]
    assert told["vsock_override"] == {"uds_path": "/v.sock"}
    assert told["mem_backend"] == {"backend_type": "File", "backend_path": "/snapshot/memory"}
    assert told["resume_vm"] is True
    assert told["clock_realtime"] is True
    assert "clock_realtime" not in (hardware.load(SPEC, clock=False).body() or {})


def test_room_to_grow_is_whole_slots() -> None:
    for most, total in ((256, None), (257, 128), (384, 128), (385, 256), (1024, 768)):
        found = [
            r
            for r in hardware.boot(replace(SPEC, memory_max_mib=most), rates=None)
            if isinstance(r, MemoryHotplug)
        ]
        assert [request.total_size_mib for request in found] == ([] if total is None else [total])


def test_a_machine_without_a_network_has_no_network_device() -> None:
    assert not any(isinstance(request, NetworkInterface) for request in hardware.boot(SPEC, rates=None))


@pytest.mark.parametrize(("most", "file_mib"), [(None, 256), (256, 256), (257, 384), (384, 384), (500, 512)])
def test_a_snapshots_memory_file_has_room_for_what_is_plugged_in(most: int | None, file_mib: int) -> None:
    spec = replace(SPEC, memory_mib=256, memory_max_mib=most)
    assert hardware.memory_file_mib(spec) == file_mib
    plugged = [
        body["total_size_mib"]
        for body in (request.body() or {} for request in hardware.boot(spec, rates=None))
        if "total_size_mib" in body
    ]
    assert plugged == ([file_mib - 256] if file_mib > 256 else [])


def test_a_template_may_hold_its_memory_twice() -> None:
    charged = charged_mib(SPEC, freezes=False)
    assert charged_mib(SPEC, freezes=True) - charged == SPEC.memory_mib
    assert group_limits(SPEC, charged, None).memory_bytes > SPEC.memory_mib << 20
