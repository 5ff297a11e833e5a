"""Holding requests against Firecracker's description: no other test would find a let-through."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.vmm.firecracker.requests.api import FirecrackerApi
from emberbox.vmm.firecracker.requests.request import Request
from tests.patience import PATIENCE_S
from tests.peers import description as peers
from tests.peers.description import Auditor, Description, deliberately_wrong, find
from tests.unit.vmm.firecracker.requests.server import NO_CONTENT, serving

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """
paths:
  /things/{thing_id}:
    put:
      parameters:
        - {name: thing_id, in: path, required: true, type: string}
        - {name: body, in: body, required: true, schema: {$ref: "#/definitions/Thing"}}
  /machine-config:
    patch:
      parameters:
        - {name: body, in: body, schema: {$ref: "#/definitions/Thing"}}
  /stop:
    patch: {}
definitions:
  Thing:
    type: object
    required: [thing_id, size]
    properties:
      thing_id: {type: string}
      size: {type: integer, minimum: 3, maximum: 9}
      wide: {type: integer, format: int64}
      level: {type: string, enum: [Info, Off, None]}
      on: {type: boolean}
      limit: {$ref: "#/definitions/Limit", description: with a sibling}
      limits: {type: array, items: {$ref: "#/definitions/Limit"}}
      labels: {type: object, additionalProperties: {type: string}}
      free: {type: object, additionalProperties: true}
      address: {type: string, format: "169.254.[0-9]+.[0-9]+"}
  Limit: {type: object, required: [most], properties: {most: {$ref: "#/definitions/Most"}}}
  Most: {type: integer}
"""
PAUSE = Request("PATCH", "/vm", {"state": "Paused"})
THING: dict[str, Any] = {"thing_id": "a", "size": 3}


@pytest.fixture
def small(tmp_path: Path) -> Description:
    (tmp_path / "small.yaml").write_text(SMALL)
    return Description.load(tmp_path / "small.yaml")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"size": 9},
        {"level": "Off"},
        {"level": "None"},
        {"on": False},
        {"limit": {"most": 1}},
        {"limits": []},
        {"limits": [{"most": 0}]},
        {"labels": {"a": "b"}},
        {"free": {"a": [1]}},
        {"address": "169.254.1.1"},
        {"wide": 2**63 - 1},
    ],
)
def test_what_is_as_described(small: Description, more: dict[str, Any]) -> None:
    assert small.violations("PUT", "/things/a", {**THING, **more}) == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"size": 2}, "body.size: 2 is not from 3 to 9"),
        ({"size": 10}, "from 3 to 9"),
        ({"size": 3.0}, "is no integer"),
        ({"size": True}, "is no integer"),
        ({"size": None}, "is no integer"),
        ({"on": 1}, "is no boolean"),
        ({"wide": 2**63}, "is not from 0"),
        ({"wide": -1}, "is not from 0"),
        ({"level": "off"}, "is none of"),
        ({"level": False}, "is no string"),
        ({"other": 1}, "body.other: no such field"),
        ({"limit": {}}, "body.limit.most: is missing"),
        ({"limit": {"most": -1}}, "body.limit.most: -1"),
        ({"limit": []}, "is no object"),
        ({"limits": {}}, "is no array"),
        ({"limits": [{"most": 1}, {"x": 1}]}, "body.limits[1].most: is missing"),
        ({"labels": {"a": 1}}, "body.labels.a: 1 is no string"),
        ({"address": "10.0.0.1"}, "is not 169"),
        ({"thing_id": "b"}, "the path says 'a'"),
    ],
)
def test_what_is_not(small: Description, more: dict[str, Any], says: str) -> None:
    wrong = small.violations("PUT", "/things/a", {**THING, **more})
    assert any(says in text for text in wrong), wrong
    assert all(text.startswith("PUT /things/a: ") for text in wrong)


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", "/things", THING, "no such operation"),
        ("PUT", "/things/a/b", THING, "no such operation"),
        ("PUT", "/things/../a", THING, "no such operation"),
        ("GET", "/things/a", None, "no such operation"),
        ("PUT", "/things/a", None, "needs a body"),
        ("PATCH", "/stop", {}, "takes no body"),
        ("PUT", "/things/a", [], "is no object"),
    ],
)
def test_an_operation_that_is_not_described(
    small: Description, method: str, path: str, body: Any, says: str
) -> None:
    [wrong] = small.violations(method, path, body)
    assert says in wrong


def test_a_part_of_the_configuration_is_enough_where_the_description_says_so(small: Description) -> None:
    assert small.violations("PATCH", "/machine-config", {"size": 4}) == []
    assert small.violations("PATCH", "/stop", None) == []


def test_a_file_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERBOX_FIRECRACKER_DESCRIPTION", str(tmp_path / "none.yaml"))
    with pytest.raises(FileNotFoundError, match="EMBERBOX_FIRECRACKER_DESCRIPTION"):
        find()
    (tmp_path / "none.yaml").write_text(SMALL)
    assert find() == tmp_path / "none.yaml"


def test_without_the_file_nothing_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBERBOX_FIRECRACKER_DESCRIPTION", raising=False)
    monkeypatch.setattr(peers, "_PLACE", tmp_path / "none.yaml")
    assert find() is None


async def test_what_goes_out_is_looked_at(small: Description, tmp_path: Path) -> None:
    class Api(FirecrackerApi):
        """The class itself is being listened to by the suite."""

    auditor = Auditor(small)
    before = Api._exchange
    async with serving(tmp_path / "s", NO_CONTENT) as server:
        api = Api(tmp_path / "s", name="m1")
        with auditor.listening(Api):
            await api.send(PAUSE)
            assert auditor.take() == ["PATCH /vm: no such operation"]
            with deliberately_wrong():
                await asyncio.create_task(api.send(PAUSE))
            assert auditor.take() == []
            await api.send(Request("PATCH", "/vm", {"state": "Resumed"}))
        await api.close()
    assert Api._exchange is before
    assert len(auditor.take()) == 1
    assert auditor.seen == len(server.asked) == 3


TESTS = """
from tests.peers.description import deliberately_wrong
from tests.peers.plugin import requests_auditor, validated_requests
from emberbox.vmm.firecracker.requests.api import FirecrackerApi
import asyncio, pytest

async def send(tmp_path, path):
    async def serve(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 204 \\r\\n\\r\\n")
        writer.close()
    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    api = FirecrackerApi(tmp_path / "s", name="m")
    try:
        await api._exchange("PATCH", path, None, None)
    finally:
        await api.close()
        server.close()

def test_right(tmp_path):
    asyncio.run(send(tmp_path, "/stop"))

def test_wrong(tmp_path):
    asyncio.run(send(tmp_path, "/go"))

def test_wrong_on_purpose(tmp_path):
    with deliberately_wrong():
        asyncio.run(send(tmp_path, "/go"))

def test_after(tmp_path):
    pass
"""


def test_the_test_that_sends_it_fails_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "test_inner.py").write_text(TESTS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--rootdir",
            tmp_path,
            "test_inner.py",
        ],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{peers.ROOT / 'src'}:{peers.ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "EMBERBOX_FIRECRACKER_DESCRIPTION": str(tmp_path / "small.yaml"),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "4 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "ERROR test_inner.py::test_wrong - Failed: sent to Firecracker" in done.stdout
    assert "PATCH /go: no such operation" in done.stdout


def test_this_run_is_looked_at(requests_auditor: Auditor | None) -> None:
    if find() is None:
        pytest.skip("Firecracker's API description is not here")
    assert requests_auditor is not None
    assert FirecrackerApi._exchange.__qualname__.startswith("Auditor.listening")


async def test_a_request_of_this_suite_that_is_wrong_is_found(
    requests_auditor: Auditor | None, tmp_path: Path
) -> None:
    if requests_auditor is None:
        pytest.skip("Firecracker's API description is not here")
    async with serving(tmp_path / "s", NO_CONTENT):
        api = FirecrackerApi(tmp_path / "s", name="m1")
        await api._exchange("PUT", "/vsock", {"guest_cid": 2, "uds_path": "/v"}, None)
        await api.close()
    assert requests_auditor.take() == ["PUT /vsock: body.guest_cid: 2 is not from 3 to 18446744073709551615"]
