from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emberbox.errors import InvalidInput
from emberbox.vmm.firecracker.requests import bodies, devices
from emberbox.vmm.firecracker.requests.request import Request
from tests.peers.description import Description, find
from tests.peers.firecracker import routes
from tests.unit.vmm.firecracker.requests.requests import STRATEGIES

_DESCRIPTION = None if (_FILE := find()) is None else Description.load(_FILE)

# Why a field that the description has is in no class.
LEFT_OUT = {
    "cpu_template": "deprecated",
    "vsock_id": "deprecated",
    "enable_diff_snapshots": "deprecated",
    "mem_file_path": "deprecated when loading: mem_backend says the same",
    "socket": "vhost-user block devices are not offered",
}
# Names of the classes, where the JSON's are others.
RENAMED = {"vsock_uds_path": "vsock_override"}
_KINDS: dict[type, str] = {str: "string", bool: "boolean", int: "integer"}


def _described() -> Description:
    if _DESCRIPTION is None:
        pytest.skip("Firecracker's API description is not here; EMBERBOX_FIRECRACKER_DESCRIPTION may name it")
    return _DESCRIPTION


def _classes() -> list[type[Request]]:
    found = [kind for module in (bodies, devices) for kind in vars(module).values()]
    kinds = {kind: None for kind in found if isinstance(kind, type) and issubclass(kind, Request)}
    return [kind for kind in kinds if kind is not Request]


def _whole(annotation: Any) -> Any:
    """Return a field's type without its None."""
    if isinstance(annotation, UnionType):
        return next(kind for kind in typing.get_args(annotation) if kind is not NoneType)
    return annotation


def _compare(description: Description, kind: type, schema: Mapping[str, Any], where: str) -> list[str]:
    """Return where a dataclass and a schema differ, in both directions."""
    known = schema.get("properties", {})
    hints = typing.get_type_hints(kind, localns={"Mapping": Mapping})
    ours = {RENAMED.get(field.name, field.name): hints[field.name] for field in dataclasses.fields(kind)}
    wrong = [f"{where}.{name}: not described" for name in ours.keys() - known.keys()]
    wrong += [f"{where}.{name}: in no class" for name in known.keys() - ours.keys() - LEFT_OUT.keys()]
    for name in ours.keys() & known.keys():
        wrong += _compare_type(
            description, _whole(ours[name]), description.resolved(known[name]), f"{where}.{name}"
        )
    return wrong


def _compare_type(description: Description, kind: Any, schema: Mapping[str, Any], where: str) -> list[str]:
    told = schema["type"]
    if dataclasses.is_dataclass(kind):
        return _compare(description, typing.cast("type", kind), schema, where)
    if told == "array":
        assert typing.get_origin(kind) is tuple, where
        return _compare_type(
            description, typing.get_args(kind)[0], description.resolved(schema["items"]), f"{where}[]"
        )
    if told == "object" and where.endswith("vsock_override"):
        return (
            []
            if kind is str and list(schema["properties"]) == ["uds_path"]
            else [f"{where}: no longer a path alone"]
        )
    if told == "object":
        return [] if typing.get_origin(kind) is Mapping else [f"{where}: is {kind}"]
    return [] if _KINDS.get(kind) == told else [f"{where}: is {kind}, described as {told}"]


def test_every_class_has_a_strategy_of_its_own() -> None:
    assert set(STRATEGIES) == set(_classes())


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_each_class_has_the_fields_that_are_described(kind: type[Request]) -> None:
    description = _described()
    assert kind.route in description.paths
    schema = description.schema(kind.method, kind.route)
    assert _compare(description, kind, schema or {}, kind.__name__) == []


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_can_be_made_is_as_described(kind: type[Request], data: st.DataObject) -> None:
    request = data.draw(STRATEGIES[kind])
    body = request.body()
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert "None" not in request.path
    assert "{" not in request.path
    assert _described().violations(request.method, request.path, body) == []


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
@settings(max_examples=10)
@given(data=st.data())
def test_what_can_be_made_is_taken_by_the_stand_in(kind: type[Request], data: st.DataObject) -> None:
    request = data.draw(STRATEGIES[kind])
    route, parameter = routes.find(request.method, request.path)
    body = request.body()
    assert (routes.checked(route, parameter, body, frozenset()) or None) == (body or None)


def test_a_field_that_is_none_is_not_sent() -> None:
    assert bodies.BootSource(kernel_image_path="/kernel").body() == {"kernel_image_path": "/kernel"}
    assert devices.EntropyDevice().body() == {}


def test_false_and_zero_are_sent() -> None:
    assert devices.Balloon(amount_mib=0, deflate_on_oom=False, stats_polling_interval_s=0).body() == {
        "amount_mib": 0,
        "deflate_on_oom": False,
        "stats_polling_interval_s": 0,
    }


def test_a_drive_is_at_its_own_path() -> None:
    drive = devices.DriveConfig(
        drive_id="rootfs",
        path_on_host="/drives/0",
        rate_limiter=devices.RateLimiter(bandwidth=devices.TokenBucket(size=10, refill_time=100)),
    )
    assert (drive.method, drive.path) == ("PUT", "/drives/rootfs")
    assert drive.body() == {
        "drive_id": "rootfs",
        "path_on_host": "/drives/0",
        "is_read_only": True,
        "is_root_device": False,
        "rate_limiter": {"bandwidth": {"size": 10, "refill_time": 100}},
    }


def test_loading_a_snapshot_with_overrides() -> None:
    load = bodies.SnapshotLoad(
        snapshot_path="/s",
        mem_backend=bodies.MemoryBackend(backend_path="/m"),
        resume_vm=True,
        network_overrides=(bodies.NetworkOverride(iface_id="eth0", host_dev_name="tap7"),),
        vsock_uds_path="/v.sock",
        clock_realtime=True,
    )
    assert load.body() == {
        "snapshot_path": "/s",
        "mem_backend": {"backend_path": "/m", "backend_type": "File"},
        "resume_vm": True,
        "network_overrides": [{"iface_id": "eth0", "host_dev_name": "tap7"}],
        "vsock_override": {"uds_path": "/v.sock"},
        "clock_realtime": True,
    }


def test_without_overrides_an_old_release_sees_none() -> None:
    load = bodies.SnapshotLoad(snapshot_path="/s", mem_backend=bodies.MemoryBackend(backend_path="/m"))
    assert load.body() == {
        "snapshot_path": "/s",
        "mem_backend": {"backend_path": "/m", "backend_type": "File"},
    }


def _limiter(**fields: Any) -> devices.TokenBucket:
    return devices.TokenBucket(**{"size": 1, "refill_time": 1, **fields})


def _drive(**fields: Any) -> devices.DriveConfig:
    return devices.DriveConfig(**{"drive_id": "a", "path_on_host": "/a", **fields})


def _interface(**fields: Any) -> devices.NetworkInterface:
    return devices.NetworkInterface(**{"iface_id": "eth0", "host_dev_name": "tap0", **fields})


def _machine(**fields: Any) -> bodies.MachineConfiguration:
    return bodies.MachineConfiguration(**{"vcpu_count": 1, "mem_size_mib": 128, **fields})


def _load(**fields: Any) -> bodies.SnapshotLoad:
    return bodies.SnapshotLoad(
        **{"snapshot_path": "/s", "mem_backend": bodies.MemoryBackend(backend_path="/m"), **fields}
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (bodies.BootSource, {"kernel_image_path": ""}),
        (bodies.BootSource, {"kernel_image_path": "/a\0"}),
        (bodies.BootSource, {"kernel_image_path": "/\udc80"}),
        (bodies.BootSource, {"kernel_image_path": "/k", "boot_args": "a" * 4096}),
        (_machine, {"vcpu_count": 0}),
        (_machine, {"vcpu_count": 33}),
        (_machine, {"vcpu_count": True}),
        (_machine, {"vcpu_count": 3, "smt": True}),
        (_machine, {"mem_size_mib": 0}),
        (_machine, {"mem_size_mib": 1.5}),
        (_machine, {"mem_size_mib": 129, "huge_pages": "2M"}),
        (_machine, {"huge_pages": "1G"}),
        (_drive, {"drive_id": ""}),
        (_drive, {"drive_id": "../vm"}),
        (_drive, {"drive_id": "a b"}),
        (_drive, {"drive_id": "é"}),
        (_drive, {"io_engine": "Fast"}),
        (_drive, {"cache_type": "sync"}),
        (_drive, {"is_read_only": None}),
        (_interface, {"iface_id": "eth0/x"}),
        (_interface, {"mtu": 67}),
        (_interface, {"mtu": 65_536}),
        (_interface, {"host_dev_name": "a" * 16}),
        (_interface, {"host_dev_name": "a/b"}),
        (_interface, {"guest_mac": "02:00"}),
        (devices.Vsock, {"guest_cid": 2, "uds_path": "/v"}),
        (devices.Vsock, {"guest_cid": 3, "uds_path": None}),
        (_limiter, {"size": -1}),
        (_limiter, {"refill_time": 2**63}),
        (_limiter, {"one_time_burst": -1}),
        (_limiter, {"size": None}),
        (devices.Balloon, {"amount_mib": -1, "deflate_on_oom": True}),
        (devices.Balloon, {"amount_mib": 1, "deflate_on_oom": None}),
        (devices.BalloonUpdate, {"amount_mib": 2**32}),
        (bodies.Action, {"action_type": "Reboot"}),
        (bodies.Action, {"action_type": None}),
        (bodies.VmState, {"state": "Running"}),
        (bodies.SnapshotCreate, {"snapshot_path": "/s", "mem_file_path": "/m", "snapshot_type": "Half"}),
        (bodies.MemoryBackend, {"backend_path": "/m", "backend_type": "file"}),
        (bodies.NetworkOverride, {"iface_id": "e", "host_dev_name": ""}),
        (_load, {"huge_pages": "2M"}),
        (_load, {"resume_vm": 1}),
        (_load, {"vsock_uds_path": ""}),
        (devices.MemoryHotplug, {"total_size_mib": 100}),
        (devices.MemoryHotplug, {"total_size_mib": 0}),
        (devices.MemoryHotplug, {"total_size_mib": 128, "block_size_mib": 3}),
        (devices.MemoryHotplug, {"total_size_mib": 128, "slot_size_mib": 64}),
        (devices.MemoryHotplug, {"total_size_mib": 512, "block_size_mib": 256}),
        (devices.MemoryHotplugUpdate, {"requested_size_mib": -1}),
    ],
)
def test_what_the_api_would_refuse_is_refused_here(
    kind: Callable[..., object], fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        kind(**fields)
