"""The page about drivers is what their code says."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emberbox.vmm.firecracker.kind import KIND as FIRECRACKER
from emberbox.vmm.qemu.kind import KIND as QEMU
from tests.unit.vmm.kinds import register

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/drivers.md"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_module("scripts.driver_table")


def test_the_page_is_what_the_code_says(script: dict[str, Any]) -> None:
    assert script["page"](PAGE.read_text()) == PAGE.read_text(), (
        "run: .venv/bin/python -m scripts.driver_table"
    )


def test_every_protocol_has_a_row_and_every_method_a_meaning(script: dict[str, Any]) -> None:
    rows, meanings = script["table"](), script["meanings"]()
    names = {protocol.__name__ for protocol in script["protocols"]()}
    assert {"Driver", "Machine", "SnapshotDriver", "LoadedSnapshot", "AdoptingDriver"} <= names
    assert all(f"| `{name}` | " in rows and f"#### `{name}`\n" in meanings for name in names)
    assert "| `SnapshotDriver` | ✓ | ✓ |" in rows and "| `TimedMachine` | – | ✓ |" in rows
    assert "- `.open_channel`: Connect" in meanings
    assert all(len(line) <= 100 for line in meanings.splitlines())


def test_a_power_that_a_driver_lacks_is_seen(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        """A driver that cannot do anything."""

        __module__ = "emberbox.vmm.qemu.driver"

    bare = replace(QEMU, title="bare", make=lambda *_: Bare())  # type: ignore[arg-type]
    register(monkeypatch, firecracker=FIRECRACKER, qemu=QEMU, bare=bare)
    rows = script["table"]().splitlines()
    assert rows[0] == "| Protocol | Firecracker | QEMU | bare |"
    assert "| `Driver` | ✓ | ✓ | – |" in rows
