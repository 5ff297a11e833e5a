"""The page about drivers is what their code says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/drivers.md"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts/driver_table.py"))


def test_the_page_is_what_the_code_says(script: dict[str, Any]) -> None:
    assert script["page"](PAGE.read_text()) == PAGE.read_text(), "run: .venv/bin/python scripts/driver_table.py"


def test_every_protocol_and_its_methods_have_a_row(script: dict[str, Any]) -> None:
    rows = script["table"]()
    names = {protocol.__name__ for protocol in script["protocols"]()}
    assert {"Driver", "Machine", "SnapshotDriver", "LoadedSnapshot", "AdoptingDriver"} <= names
    assert all(f"| **`{name}`** |" in rows for name in names)
    assert "| `.open_channel` | ✓ | ✓ |" in rows


def test_what_a_driver_lacks_is_seen(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        """A driver that cannot do anything."""

        __module__ = "emberbox.vmm.qemu.driver"

    monkeypatch.setitem(script["table"].__globals__["DRIVERS"], "bare", lambda folder, options: Bare())
    rows = script["table"]().splitlines()
    assert rows[0] == "| | Firecracker | QEMU | bare | |"
    assert next(row for row in rows if row.startswith("| **`Driver`**")).startswith("| **`Driver`** | ✓ | ✓ | – |")
