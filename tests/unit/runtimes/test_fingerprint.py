from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.runtimes.fingerprint import folder_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("content")
    (tmp_path / "b").symlink_to("sub/a")
    return tmp_path


def rename(folder: Path) -> None:
    (folder / "sub" / "a").rename(folder / "sub" / "c")


def relink(folder: Path) -> None:
    (folder / "b").unlink()
    (folder / "b").symlink_to("sub")


def move_up(folder: Path) -> None:
    (folder / "sub" / "a").rename(folder / "a")


CHANGES: list[Callable[[Path], object]] = [
    rename,
    relink,
    move_up,
    lambda folder: (folder / "sub" / "a").write_text("Content"),
    lambda folder: (folder / "sub" / "a").chmod(0o755),
    lambda folder: (folder / "new").mkdir(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_shows(folder: Path, change: Callable[[Path], object]) -> None:
    before = folder_fingerprint(folder)
    assert folder_fingerprint(folder) == before
    change(folder)
    assert folder_fingerprint(folder) != before


def test_caches_do_not_count(folder: Path) -> None:
    before = folder_fingerprint(folder)
    (folder / "sub" / "__pycache__").mkdir()
    (folder / "sub" / "__pycache__" / "x.pyc").write_bytes(b"x")
    # Only the folder's own entry is new, and it is left out.
    assert folder_fingerprint(folder) == before


def test_examples_do_not_count_but_at_the_top_alone(folder: Path) -> None:
    before = folder_fingerprint(folder)
    (folder / "examples").mkdir()
    (folder / "examples" / "hello.toy").write_text("hello")
    assert folder_fingerprint(folder) == before
    (folder / "sub" / "examples").mkdir()
    assert folder_fingerprint(folder) != before
