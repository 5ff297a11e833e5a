"""Machines over the API, the client and the command, on an engine without VMs whose book has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from emberbox.tasks import UndoStack
from emberbox.vmm.base import MachineSpec, MachineState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import httpx

    from emberbox.service.service import Service

CONSOLE = "".join(f"[{number}.0] line {number}\r\n" for number in range(100)) + "[9.9] \x1b[2Jpanic\r\n"


class StubMachine:
    pid = 4711

    def __init__(self) -> None:
        self.status = MachineState.RUNNING

    def poll(self) -> MachineState:
        return self.status

    async def trouble(self) -> str:
        return "its VMM was ended by a signal (SIGABRT)"


@pytest.fixture
async def ids(service: Service, tmp_path: Path) -> tuple[str, str]:
    """One machine that lives and one that ended badly."""
    book = cast("Any", service.engine).book
    for name in ("dead-1", "alive-1"):
        run_dir = tmp_path / name
        run_dir.mkdir()
        spec = MachineSpec(
            id=name, run_dir=run_dir, vcpus=2, memory_mib=128, kernel=tmp_path, initramfs=tmp_path
        )
        (run_dir / "console.log").write_bytes(CONSOLE.encode())
        (run_dir / "vmm.log").write_text(f"the log of {name}\n")
        place = book.enter(spec, UndoStack(), runtime="python", source="clone")
        place.machine = StubMachine()
        if name == "dead-1":
            place.machine.status = MachineState.EXITED
            await place.leave()
    return "alive-1", "dead-1"


async def test_those_that_live_and_those_that_ended_badly_are_listed(
    app_client: httpx.AsyncClient, ids: tuple[str, str]
) -> None:
    alive, dead = (await app_client.get("/v1/machines")).json()["items"]
    assert {
        name: alive[name]
        for name in ("id", "state", "pid", "ended_at", "reason", "source", "vcpus", "memory_mib")
    } == {
        "id": "alive-1",
        "state": "running",
        "pid": 4711,
        "ended_at": None,
        "reason": None,
        "source": "clone",
        "vcpus": 2,
        "memory_mib": 128,
    }
    assert (dead["id"], dead["state"], dead["pid"]) == ("dead-1", "exited", None)
    assert dead["reason"] == "its VMM was ended by a signal (SIGABRT)"
    assert dead["ended_at"] >= dead["started_at"]
    assert (await app_client.get("/v1/machines/dead-1")).json() == dead


@pytest.mark.parametrize("name", ["alive-1", "dead-1"])
async def test_both_have_a_console_and_a_log(
    app_client: httpx.AsyncClient, ids: tuple[str, str], name: str
) -> None:
    console = await app_client.get(f"/v1/machines/{name}/console")
    assert console.headers["content-type"] == "text/plain; charset=utf-8"
    assert console.text.splitlines()[:2] == ["[0.0] line 0", "[1.0] line 1"]
    assert console.text.endswith("[9.9] \\x1b[2Jpanic\n"), "what the guest wrote is escaped"
    last = await app_client.get(f"/v1/machines/{name}/console", params={"tail": 2})
    assert last.text == "[99.0] line 99\n[9.9] \\x1b[2Jpanic\n"
    assert (await app_client.get(f"/v1/machines/{name}/console?tail=0")).text == ""
    assert (await app_client.get(f"/v1/machines/{name}/log")).text == f"the log of {name}\n"


@pytest.mark.parametrize("part", ["", "/console", "/log"])
async def test_what_is_none_is_not_found(
    app_client: httpx.AsyncClient, ids: tuple[str, str], part: str
) -> None:
    missing = await app_client.get(f"/v1/machines/other-1{part}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    for name in ("..", "%2e%2e", "..%2fdead-1", ".new-1", "A", "x" * 64):
        assert (await app_client.get(f"/v1/machines/{name}{part}")).status_code in (404, 422), name


@pytest.mark.parametrize("path", ["", "/alive-1", "/alive-1/console", "/alive-1/log"])
async def test_admins_alone_see_them(
    app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]], ids: tuple[str, str], path: str
) -> None:
    runner = await make_key("run")
    refused = await app_client.get(f"/v1/machines{path}", headers={"Authorization": f"Bearer {runner}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
