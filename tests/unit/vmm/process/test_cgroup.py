"""Control groups, on folders that stand for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from emberbox.model import MIB
from emberbox.vmm.base import MachineSpec
from emberbox.vmm.process.bounds import VMM_CPUS, all_limits, group_limits
from emberbox.vmm.process.cgroup import Cgroup, CgroupLimits, Cgroups
from emberbox.vmm.process.host_memory import host_memory_mib


def test_groups_of_version_2(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "emberbox"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu memory pids")
    groups = Cgroups(tmp_path)
    assert groups.prepare()
    group = groups.create("m-1", CgroupLimits(memory_bytes=1000, pids=9, cpus=1.5, weight=2))
    (folder,) = group.folders
    assert (folder / "memory.max").read_text() == "1000"
    assert (folder / "pids.max").read_text() == "9"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert (folder / "cpu.weight").read_text() == "200"
    assert groups.names("m-") == ["m-1"]
    group.weigh(100)
    assert (folder / "cpu.weight").read_text() == "10000"
    group.weigh(1)
    assert (folder / "cpu.weight").read_text() == "200"


def test_groups_of_version_1(tmp_path: Path) -> None:
    for controller in ("memory", "pids", "cpu"):
        (tmp_path / controller).mkdir()
    groups = Cgroups(tmp_path)
    assert groups.prepare()
    group = groups.create("m-1", CgroupLimits(memory_bytes=1000, pids=9, cpus=2.5, weight=2))
    assert [str(folder.relative_to(tmp_path)) for folder in group.folders] == [
        "memory/emberbox/m-1",
        "pids/emberbox/m-1",
        "cpu/emberbox/m-1",
    ]
    written = {file.name: file.read_text() for folder in group.folders for file in folder.iterdir()}
    assert written == {
        "memory.limit_in_bytes": "1000",
        "pids.max": "9",
        "cpu.cfs_quota_us": "250000",
        "cpu.shares": "2048",
    }


def test_all_together_are_bounded(tmp_path: Path) -> None:
    for controller in ("memory", "pids", "cpu"):
        (tmp_path / controller).mkdir()
    (tmp_path / "memory/emberbox").mkdir()
    hierarchy = tmp_path / "memory/emberbox/memory.use_hierarchy"
    hierarchy.write_text("0\n")
    assert Cgroups(tmp_path, CgroupLimits(memory_bytes=5000, pids=77)).prepare()
    assert (tmp_path / "memory/emberbox/memory.limit_in_bytes").read_text() == "5000"
    assert (tmp_path / "pids/emberbox/pids.max").read_text() == "77"
    assert hierarchy.read_text() == "1"
    assert not list((tmp_path / "cpu/emberbox").iterdir())


def test_a_bound_of_all_that_the_kernel_refuses_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for controller in ("memory", "pids", "cpu"):
        (tmp_path / controller / "emberbox").mkdir(parents=True)
    (tmp_path / "memory/emberbox/memory.limit_in_bytes").mkdir()
    assert Cgroups(tmp_path, CgroupLimits(memory_bytes=5000, pids=77)).prepare()
    assert "not bounded by memory.limit_in_bytes" in caplog.text
    assert (tmp_path / "pids/emberbox/pids.max").read_text() == "77"


def test_each_machine_gets_its_processors_worth_and_a_weight(tmp_path: Path) -> None:
    for vcpus in (1, 4):
        spec = MachineSpec(
            id="m-1", run_dir=tmp_path, vcpus=vcpus, memory_mib=256, kernel=tmp_path, initramfs=tmp_path
        )
        limits = group_limits(spec, 256)
        assert limits.cpus == vcpus + VMM_CPUS
        assert limits.weight == vcpus


def test_the_host_keeps_memory_and_pids() -> None:
    total_mib, limits = host_memory_mib(), all_limits()
    assert total_mib // 2 <= limits.memory_bytes // MIB <= total_mib - min(512, total_mib // 2)
    assert 0 < limits.pids <= int(Path("/proc/sys/kernel/pid_max").read_text()) // 2


@pytest.mark.parametrize(
    ("file", "least", "usual", "most"),
    [("cpu.weight", "1", "100", "10000"), ("cpu.shares", "2", "1024", "262144")],
)
def test_a_group_weighs_what_it_is_told_to_and_no_more_than_there_is(
    tmp_path: Path, file: str, least: str, usual: str, most: str
) -> None:
    (tmp_path / file).touch()
    other = tmp_path / "memory"
    other.mkdir()
    group = Cgroup((tmp_path, other))
    for times, expected in ((1, usual), (1e6, most), (1e-6, least), (1, usual)):
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
