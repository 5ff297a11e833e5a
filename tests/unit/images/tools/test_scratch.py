"""The folder in which an unprivileged build works."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from emberbox.images.tools.scratch import open_to_all, scratch_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A data folder in a home that is closed to others."""
    folder = tmp_path / "home/data"
    folder.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


async def test_a_closed_home_is_left(closed: Path, elsewhere: Path) -> None:
    assert not open_to_all(closed)
    async with scratch_folder(closed, as_root=False, elsewhere=elsewhere) as folder:
        assert folder.parent == elsewhere, "the users of the build do not get through to the other"
        assert folder.stat().st_mode & 0o7777 == 0o1777
        (folder / "left").mkdir()
    assert list(elsewhere.iterdir()) == []
    async with scratch_folder(closed, as_root=True, elsewhere=elsewhere) as folder:
        assert folder.parent == closed
    assert list(closed.iterdir()) == []


async def test_it_is_removed_after_a_failure(closed: Path, elsewhere: Path) -> None:
    with pytest.raises(OSError, match="full"):
        async with scratch_folder(closed, as_root=False, elsewhere=elsewhere):
            raise OSError("the disk is full")
    assert list(elsewhere.iterdir()) == []


async def test_what_killed_builds_left_is_removed_and_nothing_else(closed: Path, elsewhere: Path) -> None:
    old, young, alive, file = (
        elsewhere / f"emberbox-build-{name}" for name in ("old", "young", "alive", "file")
    )
    for folder in (old, young, alive):
        folder.mkdir()
    (old / "rest").touch()
    file.touch()
    (elsewhere / "other").mkdir()
    for path in (old, alive, file, elsewhere / "other"):
        os.utime(path, (1, 1))
    lock = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with scratch_folder(closed, as_root=False, elsewhere=elsewhere):
            assert not old.exists()
    finally:
        os.close(lock)
    assert sorted(path.name for path in elsewhere.iterdir()) == [alive.name, file.name, young.name, "other"]
