from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.description import Description, find
from tests.peers.firecracker import routes, schema
from tests.peers.firecracker.faults import Fault
from tests.peers.firecracker.schema import DEFINITIONS, Field, check

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {"vcpu_count": 1, "mem_size_mib": 128}


def described() -> Description:
    file: Path | None = find()
    if file is None:
        pytest.skip("Firecracker's API description is not at hand")
    return Description.load(file)


def name_of(reference: str) -> str:
    return reference.removeprefix("#/definitions/")


def reachable(description: Description) -> set[str]:
    """Return the definitions that bodies of requests are made of."""
    found: set[str] = set()
    waiting = [name for name in bodies(description).values() if name is not None]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += list(references(description.definitions[name]))
    return found


def references(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        own = [name_of(tree["$ref"])] if "$ref" in tree else []
        return own + [name for part in tree.values() for name in references(part)]
    return []


def bodies(description: Description) -> dict[tuple[str, str], str | None]:
    found: dict[tuple[str, str], str | None] = {}
    for path, operations in description.paths.items():
        for method, operation in operations.items():
            body = next((part for part in operation.get("parameters", ()) if part["in"] == "body"), None)
            found[method.upper(), path] = None if body is None else name_of(body["schema"]["$ref"])
    return found


def as_field(description: Description, name: str, told: dict[str, Any], required: bool) -> Field:
    """Return a described property as our table has it."""
    ref = name_of(told["$ref"]) if "$ref" in told else None
    resolved = description.definitions[ref] if ref else told
    items = told.get("items") or told.get("additionalProperties") or {}
    return Field(
        type=resolved["type"],
        required=required,
        enum=tuple(resolved["enum"]) if "enum" in resolved else None,
        minimum=resolved.get("minimum"),
        maximum=resolved.get("maximum"),
        ref=name_of(items["$ref"]) if "$ref" in items else ref,
        items=items.get("type"),
        any_case=name == "level",
    )


def test_the_routes_are_those_of_the_description() -> None:
    found = {(route.method, route.path): route.definition for route in routes.ROUTES}
    assert {route: found[route] for route in found.keys() - routes.MEASURED} == bodies(described())


def test_the_tables_equal_the_description_field_by_field() -> None:
    description = described()
    told = {name for name in reachable(description) if description.definitions[name]["type"] == "object"}
    assert set(DEFINITIONS) == told - {routes.FREE_FORM}
    for name, fields in DEFINITIONS.items():
        definition = description.definitions[name]
        required = definition.get("required", [])
        expected = {
            field: as_field(description, field, property_, field in required)
            for field, property_ in definition["properties"].items()
        }
        assert fields == expected, name


@pytest.mark.parametrize(
    ("definition", "body", "said"),
    [
        ("MachineConfiguration", {**MACHINE, "vcpu_count": 256}, "integer `256`, expected u8"),
        ("MachineConfiguration", {**MACHINE, "vcpu_count": True}, "invalid type: boolean `true`"),
        ("MachineConfiguration", {**MACHINE, "mem_size_mib": -1}, "integer `-1`"),
        ("MachineConfiguration", {"vcpu_count": 1}, "missing field `mem_size_mib`"),
        (
            "MachineConfiguration",
            {**MACHINE, "x": 1},
            "unknown field `x`, expected one of `vcpu_count`, `mem_size_mib`",
        ),
        (
            "MachineConfiguration",
            {**MACHINE, "huge_pages": "4K"},
            "unknown variant `4K`, expected one of `None`",
        ),
        ("Vm", {"state": "Stopped"}, "unknown variant `Stopped`, expected `Paused` or `Resumed`"),
        ("Vm", [], "invalid type: sequence"),
        ("BalloonUpdate", {"amount_mib": 1, "x": 1}, "unknown field `x`, expected `amount_mib`"),
        ("Vsock", {"guest_cid": 2**32, "uds_path": "/v.sock"}, "integer `4294967296`, expected u32"),
        (
            "NetworkInterface",
            {"iface_id": "a", "host_dev_name": "b", "guest_mac": "zz"},
            "MAC address is invalid",
        ),
        ("Logger", {"level": "Loud"}, "Invalid LevelFilter"),
        ("EntropyDevice", {"rate_limiter": {"ops": {"size": 1}}}, "missing field `refill_time`"),
        ("CpuConfig", {"kvm_capabilities": [1]}, "invalid type: integer `1`"),
        ("CpuConfig", {"msr_modifiers": [{"addr": "1"}]}, "missing field `bitmap`"),
        ("Metrics", {"metrics_path": "/m", "properties": {"a": 1}}, "invalid type: integer"),
        (
            "SnapshotLoadParams",
            {"snapshot_path": "/s", "network_overrides": [{"iface_id": "a"}]},
            "missing field",
        ),
    ],
)
def test_a_body_that_does_not_fit_is_refused(definition: str, body: Any, said: str) -> None:
    with pytest.raises(Fault) as caught:
        check(definition, body)
    assert said in caught.value.message
    assert caught.value.message.startswith(
        "An error occurred when deserializing the json body of a request: "
    )


def test_what_fits_passes_and_null_is_as_if_left_out() -> None:
    assert check("MachineConfiguration", {**MACHINE, "smt": None}) == MACHINE
    assert check("MachineConfiguration", {"vcpu_count": 2}, partial=True) == {"vcpu_count": 2}
    assert check("Logger", {"level": "dEBUG"}) == {"level": "dEBUG"}


def test_an_older_release_does_not_know_a_field() -> None:
    body = {"snapshot_path": "/s", "clock_realtime": True}
    assert check("SnapshotLoadParams", body) == body
    with pytest.raises(Fault, match="unknown field `clock_realtime`"):
        check("SnapshotLoadParams", body, unknown={"clock_realtime"})
    assert "clock_realtime" in schema.DEFINITIONS["SnapshotLoadParams"]


@pytest.mark.parametrize(
    "path", ["/drives/", "/drives/a/b", "/drives", "/drives/a-b", "/drives/../vm", "//", "/vm/"]
)
def test_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(Fault):
        routes.find("PUT", path)


def test_the_path_and_the_body_must_name_the_same() -> None:
    route, parameter = routes.find("PUT", "/drives/a")
    with pytest.raises(Fault, match="does not match"):
        routes.checked(route, parameter, {"drive_id": "b", "is_root_device": False}, frozenset())
