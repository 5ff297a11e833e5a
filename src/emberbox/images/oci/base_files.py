"""Adds every guest's needs to an image's tree: folders that are mounted over, names, and users."""

from __future__ import annotations

from emberbox.images.oci.tree import Node, Tree
from emberbox.images.rootfs.guest_files import NAME_FILES, USER_FILE

_MOUNTED = ("dev", "proc", "run", "sys")
"""Their content in the image is never seen."""
_TOP = 1_000_000
"""The layer that is above all of the image's own."""


def add_base_files(tree: Tree, user: str | None, cwd: str | None) -> None:
    """Make an image's tree one that a guest starts from.

    Whatever it lacks is made: nothing of it needs to be there.

    Args:
        tree: Changed in place.
        user: `uid:gid` of its programs; None for Emberbox's unprivileged user.
        cwd: Working folder, made where it is missing; None for none.
    """
    for name in _MOUNTED:
        tree.root.children[name] = (Node("folder"), _TOP)
    for parts, mode in ((["mnt"], 0o755), (["mnt", "script"], 0o755), (["tmp"], 0o1777), (["work"], 0o755)):
        _folder(tree, parts, mode)
    for name, text in NAME_FILES:
        _file(tree, name, text)
    if user is not None:
        _file(tree, USER_FILE, f"{user}\n")
    if cwd is not None and (parts := [part for part in cwd.split("/") if part not in {"", ".", ".."}]):
        found = tree.find(cwd)
        if found is None:
            tree.put(parts, Node("folder"), _TOP)


def _folder(tree: Tree, parts: list[str], mode: int) -> None:
    """Have a folder itself there: the agent mounts over it, and must not follow a link."""
    found = tree.entry(parts)
    if found is None or found.kind != "folder":
        tree.put(parts, Node("folder", mode), _TOP)


def _file(tree: Tree, name: str, text: str) -> None:
    data = text.encode()
    tree.put(name.split("/"), Node("file", 0o644, data=data, size=len(data)), _TOP)
