"""What the stand-in for Firecracker takes is what Firecracker's description says, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.description import Description, find
from tests.peers.firecracker.routes import FREE_FORM, MEASURED, ROUTES
from tests.peers.firecracker.schema import DEFINITIONS, Field

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def description() -> Description:
    if (file := find()) is None:
        pytest.skip("Firecracker's API description is not here; EMBERBOX_FIRECRACKER_DESCRIPTION may name it")
    return Description.load(file)


def test_it_has_the_described_operations_and_no_other(description: Description) -> None:
    described = {
        (method.upper(), path) for path, operations in description.paths.items() for method in operations
    }
    assert {(route.method, route.path) for route in ROUTES} - MEASURED == described


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.definition], ids=lambda route: f"{route.method} {route.path}"
)
def test_each_operation_takes_the_described_body(description: Description, route: Any) -> None:
    schema = description.schema(route.method, route.path)
    assert schema is not None
    assert schema == description.definitions[route.definition]
    assert (route.definition == FREE_FORM) == (schema.get("additionalProperties") is True)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_body_has_the_described_fields(description: Description, name: str) -> None:
    described = description.definitions[name]
    properties = described["properties"]
    assert DEFINITIONS[name].keys() == properties.keys()
    assert {key for key, field in DEFINITIONS[name].items() if field.required} == set(
        described.get("required", ())
    )
    for key, field in DEFINITIONS[name].items():
        assert _field(description, properties[key]) == _shown(field), f"{name}.{key}"


def _field(description: Description, told: Mapping[str, Any]) -> dict[str, Any]:
    schema = description.resolved(told)
    inner = schema.get("items") or schema.get("additionalProperties") or {}
    return {
        "type": schema["type"],
        "enum": set(schema.get("enum", ())),
        "minimum": schema.get("minimum") or 0,
        "maximum": schema.get("maximum"),
        "ref": (told.get("$ref") or inner.get("$ref", "")).removeprefix("#/definitions/"),
        "items": inner.get("type"),
    }


def _shown(field: Field) -> dict[str, Any]:
    return {
        "type": field.type,
        "enum": set(field.enum or ()),
        "minimum": field.minimum or 0,
        "maximum": field.maximum,
        "ref": field.ref or "",
        "items": field.items,
    }
