"""Judgements of the data folder and of what is built, from plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.doctor import Finding, Level
from emberbox.doctor.checks import stock
from emberbox.images import Requirement

if TYPE_CHECKING:
    from collections.abc import Callable


LZ4 = Requirement("lz4", "lz4", "unpacks the guest's kernel")
MKE2FS = Requirement("mke2fs", "e2fsprogs", "makes root filesystems")


@pytest.mark.parametrize(
    ("problem", "free", "kind", "level"),
    [
        (None, 50e9, "ext4", Level.OK),
        (None, 2e9, "ext4", Level.WARNING),
        (None, 1e8, "ext4", Level.MISSING),
        (None, 50e9, "nfs4", Level.WARNING),
        (None, 50e9, "tmpfs", Level.WARNING),
        ("cannot be written: Permission denied", 50e9, "ext4", Level.MISSING),
    ],
)
def test_data_folder(problem: str | None, free: float, kind: str, level: Level) -> None:
    finding = stock.check_data_folder(Path("/data"), problem, int(free), kind)
    assert finding.level is level
    assert (finding.follows is None) is (level is Level.OK)


def test_build_tools() -> None:
    assert stock.check_build_tools([], [], images_built=False).level is Level.OK
    lacking = stock.check_build_tools([MKE2FS, LZ4], [], images_built=False)
    assert lacking.level is Level.MISSING
    assert (lacking.mend or "").endswith("apt-get install -y e2fsprogs lz4")
    assert stock.check_build_tools([LZ4], [], images_built=True).level is Level.WARNING
    broken = stock.check_build_tools([], [LZ4], images_built=False)
    assert (broken.level, broken.found) == (Level.MISSING, "lz4 does not run (unpacks the guest's kernel)")
    assert "--reinstall" in (broken.mend or "")


@pytest.mark.parametrize("check", [stock.check_build_rights, stock.check_package_lists])
def test_what_building_takes(check: Callable[..., Finding]) -> None:
    assert check(None, None, images_built=False).level is Level.OK
    some = check("no numbers", "usermod …", images_built=True)
    assert (some.level, some.mend) == (Level.WARNING, "usermod …")
    assert check("no numbers", "usermod …", images_built=False).level is Level.MISSING, "nothing can be run"


def test_stock() -> None:
    assert stock.check_agent(Path("/a"), 4_000_000, None).found == "4.0 MB, static"
    assert stock.check_agent(Path("/a"), None, None).level is Level.MISSING
    assert stock.check_agent(Path("/a"), 9, "is no program").found == "/a is no program"
    assert stock.check_images(["bash", "python"], []).level is Level.OK
    partly = stock.check_images(["bash"], ["go"])
    assert (partly.level, partly.found) == (Level.OK, "built: bash; at their first use: go")
    unbuilt = stock.check_images([], ["go"])
    assert (unbuilt.level, unbuilt.mend) == (Level.WARNING, "emberbox setup")
    assert stock.check_images([], []).level is Level.MISSING
    assert stock.check_templates([], 0).level is Level.WARNING
    assert stock.check_templates(["python", "python"], 3_000_000).found == "2 (python), 3 MB"
    assert stock.check_templates(["go"], 0, others=2).found.endswith(
        "2 of another VMM, or another version, are not used"
    )
    assert stock.check_templates([], 9, others=2).level is Level.WARNING
    many = stock.check_images(["bash"], ["a", "b", "c", "d", "e", "f"])
    assert many.found == "built: bash; at their first use: 6 others (emberbox runtimes)"
