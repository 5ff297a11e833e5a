from __future__ import annotations

from typing import Any

import pytest

from emberbox.api.app import bare_app
from emberbox.api.openapi import OTHERS, TAGS, document
from emberbox.api.problems import MEDIA_TYPE
from emberbox.schemas.base import Problem

DOCUMENT = document(bare_app())
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
PUBLIC = {"GET /healthz", "GET /readyz"}


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        found: Any = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [one for part in value.values() for one in _references(part)]
    return [one for part in value for one in _references(part)] if isinstance(value, list) else []


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert {
        "create_script",
        "submit_job",
        "get_job",
        "get_logs",
        "create_key",
        "get_me",
        "other_execute",
    } <= set(names)
    assert all(
        operation["operationId"].startswith("other_") == (operation["tags"] == [OTHERS])
        for _, operation in OPERATIONS
    )


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_each_operation_is_described(name: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert len(operation["description"]) > 20
    assert set(operation["tags"]) <= {tag["name"] for tag in TAGS}
    if name in PUBLIC:
        assert operation["security"] == []
    else:
        assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
        assert "Needs the scope `" in operation["description"]
        assert {"401", "403", "429", "500", "503"} <= set(operation["responses"])


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_each_error_is_a_problem_document(name: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status >= "400":
            assert _resolved(response)["content"][MEDIA_TYPE]["schema"] == {
                "$ref": "#/components/schemas/Problem"
            }, status
        elif name not in PUBLIC:
            assert {"RateLimit", "RateLimit-Policy"} <= set(response["headers"])


def test_references_lead_somewhere_and_nothing_of_the_framework_s_own_errors_is_left() -> None:
    references = _references(DOCUMENT)
    assert len(references) > 100
    assert all(_resolved({"$ref": reference}) for reference in references)
    assert "HTTPValidationError" not in str(DOCUMENT)


def test_the_problem_s_schema_is_the_one_that_clients_read() -> None:
    assert DOCUMENT["components"]["schemas"]["Problem"] == Problem.model_json_schema(mode="serialization")


def test_every_tag_is_used() -> None:
    assert {tag for _, operation in OPERATIONS for tag in operation["tags"]} == {tag["name"] for tag in TAGS}
