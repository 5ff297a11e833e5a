from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emberbox.vmm.process.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def deepen(folder: Path, levels: int) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        for name in ("a", "b"):
            os.mkdir(name, dir_fd=descriptor)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        below = os.open("a", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_a_tree_deeper_than_recursion_and_descriptors_go_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    deepen(tree, 2500)
    before = len(os.listdir("/proc/self/fd"))
    assert remove_tree(tree)
    assert not tree.exists()
    assert len(os.listdir("/proc/self/fd")) == before
    assert remove_tree(tree), "gone is gone"


def test_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below/link").symlink_to(kept)
    (tree / "link").symlink_to(kept / "file")
    os.link(kept / "file", tree / "hard")
    os.mkfifo(tree / "pipe")
    assert remove_tree(tree)
    assert (kept / "file").read_text() == "kept"
    (tmp_path / "planted").symlink_to(kept)
    assert remove_tree(tmp_path / "planted")
    assert (kept / "file").exists()
    assert not (tmp_path / "planted").is_symlink()


def test_what_cannot_be_removed_ends_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        patched.setattr(os, "rename", refuse)
        assert not remove_tree(tree)
    assert (tree / "a/b/file").exists()
    assert remove_tree(tree)
