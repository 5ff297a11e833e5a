"""Removing a folder in which a hostile process did what it liked."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> bool:
    """Remove the folder `path` with all in it, however deep; links are not followed. Blocks.

    Repeating is harmless.

    Returns whether it is gone. Folders are moved up to the top and emptied there: neither recursion
    nor open descriptors grow with a depth that somebody else chose, as they do with
    `shutil.rmtree`.
    """
    try:
        top = os.open(path, _FOLDER)
    except FileNotFoundError:
        return True
    except OSError:
        return _removed(path)
    try:
        while _empty_folders(top, *_unlinked(top)):
            pass
    finally:
        os.close(top)
    return _removed(path)


def _removed(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _empty_folders(top: int, folders: list[str], unlinked: int) -> bool:
    """Remove each of the folders, and move what is in them up to `top`; returns whether anything was done."""
    done = unlinked > 0
    for name in folders:
        try:
            folder = os.open(name, _FOLDER, dir_fd=top)
        except OSError:
            continue
        try:
            done = _raise_folders(folder, top) or done
        finally:
            os.close(folder)
        try:
            os.rmdir(name, dir_fd=top)
            done = True
        except OSError:
            continue
    return done


def _raise_folders(folder: int, top: int) -> bool:
    below, unlinked = _unlinked(folder)
    raised = 0
    for name in below:
        try:
            os.rename(name, f".{secrets.token_hex(12)}", src_dir_fd=folder, dst_dir_fd=top)
            raised += 1
        except OSError:
            continue
    return raised + unlinked > 0


def _unlinked(folder: int) -> tuple[list[str], int]:
    """Remove all but folders directly in `folder`; returns the folders, and how many were removed."""
    folders, unlinked = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                continue
            try:
                os.unlink(entry.name, dir_fd=folder)
                unlinked += 1
            except OSError:
                continue
    return folders, unlinked
