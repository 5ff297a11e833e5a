"""Memory as control groups leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.process.host_memory import memory_within_bounds

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024


def _within(tmp_path: Path, *, as_root: bool = True) -> tuple[int, int]:
    return memory_within_bounds(8000, 6000, as_root=as_root, root=tmp_path / "fs", groups=tmp_path / "groups")


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_without_groups_the_host_is_what_counts(tmp_path: Path) -> None:
    assert _within(tmp_path) == (8000, 6000)
    _write(tmp_path / "fs", memory__max="max\n", memory__current="1")
    _write(tmp_path / "fs/memory", memory__limit_in_bytes="9223372036854771712")
    assert _within(tmp_path) == (8000, 6000)


def test_a_container_of_version_2(tmp_path: Path) -> None:
    _write(tmp_path / "fs", memory__max=str(512 * MIB), memory__current=str(400 * MIB))
    assert _within(tmp_path) == (512, 112)
    (tmp_path / "fs/memory.stat").write_text(f"anon 5\ninactive_file {100 * MIB}\n")
    assert _within(tmp_path) == (512, 212), "the page cache gives way"
    _write(tmp_path / "fs", memory__current=str(900 * MIB))
    (tmp_path / "fs/memory.stat").unlink()
    assert _within(tmp_path) == (512, 0)


@pytest.mark.parametrize(("as_root", "found"), [(True, (8000, 6000)), (False, (300, 300))])
def test_a_users_own_groups_bound_what_it_starts(
    as_root: bool, found: tuple[int, int], tmp_path: Path
) -> None:
    _write(tmp_path / "fs/memory/user/session", memory__limit_in_bytes=str(700 * MIB))
    _write(tmp_path / "fs/memory/user", memory__limit_in_bytes=str(300 * MIB))
    (tmp_path / "groups").write_text("4:cpu,cpuacct:/\n3:memory:/user/session\n0::/\n")
    assert _within(tmp_path, as_root=as_root) == found


def test_a_path_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    _write(tmp_path / "fs/memory", memory__limit_in_bytes="max")
    (tmp_path / "groups").write_text("3:memory:/../../outside\n")
    assert _within(tmp_path, as_root=False) == (8000, 6000)
