"""Control groups, on folders that stand for the kernel's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.process.cgroup import Cgroup, CgroupLimits, Cgroups

if TYPE_CHECKING:
    from pathlib import Path


def test_groups_of_version_2(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "emberbox"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu memory pids")
    groups = Cgroups(tmp_path)
    assert groups.prepare()
    group = groups.create("m-1", CgroupLimits(memory_bytes=1000, pids=9, cpus=1.5))
    (folder,) = group.folders
    assert (folder / "memory.max").read_text() == "1000"
    assert (folder / "pids.max").read_text() == "9"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert groups.names("m-") == ["m-1"]


@pytest.mark.parametrize(
    ("file", "usual", "most"), [("cpu.weight", "100", "10000"), ("cpu.shares", "1024", "262144")]
)
def test_a_group_weighs_what_it_is_told_to_and_no_more_than_there_is(
    tmp_path: Path, file: str, usual: str, most: str
) -> None:
    (tmp_path / file).touch()
    other = tmp_path / "memory"
    other.mkdir()
    group = Cgroup((tmp_path, other))
    for times, expected in ((1, usual), (1e6, most), (1e-6, "2"), (1, usual)):
        group.weigh(times)
        assert (tmp_path / file).read_text() == expected
    assert not list(other.iterdir())
    Cgroup((tmp_path / "gone",)).weigh(100)


@pytest.mark.parametrize(
    ("file", "text", "reached"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 7\noom 0\noom_kill 1\n", False),  # the host ran out, not it
        ("memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n", True),
        ("memory.events", "low 0\n", False),
        ("memory.failcnt", "0\n", False),
        ("memory.failcnt", "3\n", True),
        ("memory.failcnt", "", False),
        ("cpu.shares", "1024", False),
    ],
)
def test_a_group_tells_whether_it_came_to_its_bound(
    tmp_path: Path, file: str, text: str, reached: bool
) -> None:
    """Each version of the interface has its own counter; see cgroup-v2 and cgroup-v1/memory."""
    other = tmp_path / "pids"
    other.mkdir()
    (tmp_path / file).write_text(text)
    assert Cgroup((other, tmp_path)).reached_bound() is reached
    assert not Cgroup((tmp_path / "gone",)).reached_bound()


def test_missing_controllers_are_told(tmp_path: Path) -> None:
    (tmp_path / "emberbox").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpu pids")
    groups = Cgroups(tmp_path)
    assert not groups.prepare()
    assert "memory" in groups.reason
    assert not Cgroups(tmp_path / "absent").prepare()
