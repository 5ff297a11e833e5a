from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.vmm.base import Drive, MachineSpec, NetworkAttachment, Rates
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.launch import charged_mib
from emberbox.vmm.process.bounds import group_limits
from tests.peers.description import Description, find
from tests.peers.firecracker import routes

if TYPE_CHECKING:
    from collections.abc import Mapping

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


RATES = Rates(disk_bytes_per_s=5, disk_ops_per_s=7, network_bytes_per_s=9)
EVERYTHING = replace(SPEC, network=NETWORK, rates=RATES, memory_max_mib=1024)


def bodies(spec: MachineSpec, rates: Rates | None = None) -> dict[str, Mapping[str, Any]]:
    return {request.path: request.body for request in hardware.boot(spec, rates or Rates())}


@pytest.mark.parametrize("spec", [SPEC, EVERYTHING, replace(SPEC, drives=())])
def test_every_request_is_as_described(spec: MachineSpec) -> None:
    file = find()
    description = None if file is None else Description.load(file)
    loads = [hardware.load(spec, clock=clock) for clock in (True, False)]
    for request in [*hardware.boot(spec, spec.rates), *loads, *hardware.bounds(spec)]:
        assert json.loads(json.dumps(request.body)) == request.body
        route, parameter = routes.find(request.method, request.path)
        assert (routes.checked(route, parameter, request.body, frozenset()) or {}) == request.body
        if description is not None:
            assert description.violations(request.method, request.path, request.body) == []


def test_the_command_line_is_always_sent_and_names_the_channel() -> None:
    words = bodies(SPEC)["/boot-source"]["boot_args"].split()
    assert "emberbox.channel=vsock:1024" in words
    assert words[-1] == "a=1"
    assert "nomodule" not in words
    assert {"reboot=k", "panic=-1"} <= set(words), (
        "a guest that ends by anything but a reboot never ends Firecracker"
    )


def test_only_a_kernel_that_may_grow_is_told_to_use_what_is_plugged_in() -> None:
    for most, told in ((None, False), (SPEC.memory_mib, False), (1024, True)):
        line = bodies(replace(SPEC, memory_max_mib=most))["/boot-source"]["boot_args"]
        assert ("memhp_default_state=online_movable" in line.split()) is told


def test_no_drive_is_the_root_device_since_there_is_an_initrd() -> None:
    made = bodies(SPEC)
    common = {"is_root_device": False}
    first = {"drive_id": "drive0", "path_on_host": "/drives/0", "is_read_only": True}
    second = {"drive_id": "drive1", "path_on_host": "/drives/1", "is_read_only": False}
    assert made["/drives/drive0"] == first | common
    assert made["/drives/drive1"] == second | common


def test_every_path_is_one_inside_the_jail() -> None:
    told = str(bodies(SPEC)) + str(hardware.load(SPEC, clock=True).body)
    for outside in ("/run/abc-1", "'/k'", "'/i'", "'/d'", "'/w'"):
        assert outside not in told


def test_rates_become_limiters_of_one_second() -> None:
    told = bodies(replace(SPEC, network=NETWORK), RATES)
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
    told = hardware.load(replace(SPEC, network=NETWORK), clock=True).body
    assert told["network_overrides"] == [{"iface_id": "eth0", "host_dev_name": "tap7"}]
    assert told["vsock_override"] == {"uds_path": "/v.sock"}
    assert told["mem_backend"] == {"backend_type": "File", "backend_path": "/snapshot/memory"}
    assert told["resume_vm"] is True
    assert told["clock_realtime"] is True
    assert "clock_realtime" not in hardware.load(SPEC, clock=False).body


def test_room_to_grow_is_whole_slots() -> None:
    for most, total in ((256, None), (257, 128), (384, 128), (385, 256), (1024, 768)):
        plugged = bodies(replace(SPEC, memory_max_mib=most)).get("/hotplug/memory", {})
        assert plugged.get("total_size_mib") == total


def test_a_machine_without_a_network_has_no_network_device() -> None:
    assert not any(path.startswith("/network-interfaces") for path in bodies(SPEC))


@pytest.mark.parametrize(("most", "file_mib"), [(None, 256), (256, 256), (257, 384), (384, 384), (500, 512)])
def test_a_snapshots_memory_file_has_room_for_what_is_plugged_in(most: int | None, file_mib: int) -> None:
    spec = replace(SPEC, memory_mib=256, memory_max_mib=most)
    assert hardware.memory_file_mib(spec) == file_mib
    assert bodies(spec).get("/hotplug/memory", {}).get("total_size_mib", 0) == file_mib - 256


def test_a_template_may_hold_its_memory_twice() -> None:
    charged = charged_mib(SPEC, freezes=False)
    assert charged_mib(SPEC, freezes=True) - charged == SPEC.memory_mib
    assert group_limits(SPEC, charged).memory_bytes > SPEC.memory_mib << 20
