"""What is kept of machines that ended badly is bounded, private, and survives whoever kept it."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.sandbox.machines.kept import KeptMachines, MachineEntry

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = MachineEntry(
    id="a-1",
    runtime="python",
    driver="qemu",
    source="cold",
    vcpus=1,
    memory_mib=256,
    state="exited",
    started_at=time.time() - 10,
    ended_at=time.time(),
    reason="its kernel panicked",
)


def kept(folder: Path, count: int = 3, age_s: float = 3600.0) -> KeptMachines:
    return KeptMachines(folder / "ended", count=count, age_s=age_s)


def add(into: KeptMachines, name: str, ended_s_ago: float = 0.0) -> None:
    into.add(
        replace(ENTRY, id=name, ended_at=time.time() - ended_s_ago), f"console of {name}", f"log of {name}"
    )


def test_another_process_reads_what_was_kept(tmp_path: Path) -> None:
    kept(tmp_path).add(ENTRY, "a panic\n", "a warning\n")
    found = kept(tmp_path)
    assert found.entries() == [ENTRY]
    assert (found.text("a-1", "console"), found.text("a-1", "log")) == ("a panic\n", "a warning\n")
    for path in (tmp_path / "ended").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "ended").stat().st_mode) == 0o700


def test_the_oldest_go_first(tmp_path: Path) -> None:
    into = kept(tmp_path)
    for number, ago_s in enumerate((50, 10, 40, 20, 30)):
        add(into, f"m-{number}", ago_s)
    assert [entry.id for entry in into.entries()] == ["m-1", "m-3", "m-4"]
    assert sorted(os.listdir(tmp_path / "ended")) == ["m-1", "m-3", "m-4"]


def test_what_is_too_old_is_removed_at_the_start(tmp_path: Path) -> None:
    add(kept(tmp_path), "old-1", ended_s_ago=2000)
    add(kept(tmp_path), "new-1")
    kept(tmp_path, age_s=1000).clean()
    assert [entry.id for entry in kept(tmp_path).entries()] == ["new-1"]


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path: Path) -> None:
    add(kept(tmp_path), "m-1")
    add(kept(tmp_path, count=0), "m-2")
    assert [entry.id for entry in kept(tmp_path).entries()] == ["m-1"]
    kept(tmp_path, count=0).clean()
    assert kept(tmp_path).entries() == []


def test_what_a_killed_process_left_is_removed_once_it_is_nobodys(tmp_path: Path) -> None:
    add(kept(tmp_path), "m-1")
    for name in (".new-0123", "half"):
        (tmp_path / "ended" / name).mkdir()
    kept(tmp_path).clean()
    assert len(os.listdir(tmp_path / "ended")) == 3, "another process may be just writing them"
    for name in (".new-0123", "half"):
        os.utime(tmp_path / "ended" / name, (1, 1))
    kept(tmp_path).clean()
    assert os.listdir(tmp_path / "ended") == ["m-1"]


@pytest.mark.parametrize("name", ["..", ".", "", "../ended/m-1", "/etc", "m-2", ".new-0123", "m-1/../m-1"])
def test_only_names_of_what_is_kept_are_looked_up(tmp_path: Path, name: str) -> None:
    add(kept(tmp_path), "m-1")
    (tmp_path / "ended/.new-0123").mkdir()
    (tmp_path / "ended/.new-0123/console").write_text("not yet")
    (tmp_path / "console").write_text("of somebody else")
    assert kept(tmp_path).text(name, "console") is None
    assert kept(tmp_path).text(name, "log") is None


def test_a_record_that_was_tampered_with_is_passed_over(tmp_path: Path) -> None:
    add(kept(tmp_path), "m-1")
    (tmp_path / "ended/m-1").rename(tmp_path / "ended/m-2")
    add(kept(tmp_path), "m-3")
    (tmp_path / "ended/m-3/machine.json").write_text('{"id": "m-3"}')
    assert kept(tmp_path).entries() == []


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "ended").write_text("a file is in the way")
    into = kept(tmp_path)
    add(into, "m-1")
    assert into.entries() == []
    assert into.text("m-1", "console") is None
