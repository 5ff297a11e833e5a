from __future__ import annotations

import os
from pathlib import Path

import pytest

from emberbox.errors import NoSpace
from emberbox.model import MIB
from emberbox.service.upkeep.space import SpaceGuard
from tests.unit.blobs.mounts import small_disk


class Disk:
    """A disk of any size; counts how often it is asked."""

    def __init__(self, free_mib: int, *, inodes: int = 1000, free_inodes: int = 10) -> None:
        self.free_mib, self.inodes, self.free_inodes, self.asked = free_mib, inodes, free_inodes, 0

    def statvfs(self, path: Path) -> os.statvfs_result:
        self.asked += 1
        free = self.free_mib * 256
        return os.statvfs_result(
            (4096, 4096, 1 << 20, free + 100, free, self.inodes, self.free_inodes, self.free_inodes, 0, 255)
        )


def guard(disk: Disk, free_mib: int = 256) -> SpaceGuard:
    return SpaceGuard(Path("/data"), free_mib, statvfs=disk.statvfs)


def test_enough_is_enough() -> None:
    guard(Disk(256)).check()
    assert guard(Disk(300)).free_bytes() == 300 * MIB


def test_too_little_is_refused_with_both_figures() -> None:
    with pytest.raises(NoSpace, match=r"255 MiB free.*256 MiB") as caught:
        guard(Disk(255)).check()
    assert caught.value.retryable


def test_0_takes_all() -> None:
    guard(Disk(0), 0).check()


def test_files_may_run_out_before_bytes_do() -> None:
    with pytest.raises(NoSpace, match="inodes"):
        guard(Disk(1000, free_inodes=0)).check()
    guard(Disk(1000, inodes=0, free_inodes=0)).check()


def test_the_disk_is_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("emberbox.service.upkeep.space.time.monotonic", lambda: now)
    disk = Disk(1000)
    watched = guard(disk)
    for _ in range(100):
        watched.check()
    assert disk.asked == 1
    disk.free_mib, now = 1, 101.1
    with pytest.raises(NoSpace):
        watched.check()
    disk.free_mib, now = 1000, 102.2
    watched.check()


def test_a_real_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=8) as disk:
        SpaceGuard(disk, 4).check()
        (disk / "file").write_bytes(bytes(5 * MIB))
        with pytest.raises(NoSpace, match="MiB free"):
            SpaceGuard(disk, 4).check()


def test_a_disk_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="still there"):
        SpaceGuard(tmp_path / "none", 1).check()
