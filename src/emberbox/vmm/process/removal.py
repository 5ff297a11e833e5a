"""Removing a folder in which a hostile process did what it liked."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from emberbox.files.descriptors import opened

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(path: Path) -> bool:
    """Remove the folder `path` with all in it, however deep; links are not followed. Blocks.

    Repeating is harmless.

    Returns whether it is gone. Folders are moved up to the top and emptied there: neither recursion
    nor open descriptors grow with a depth that somebody else chose, as they do with
    `shutil.rmtree`.
    """
    with contextlib.suppress(OSError), opened(path, _FOLDER) as top:
        while _empty_folders(top, *_unlinked(top)):
            pass
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
        with contextlib.suppress(OSError):
            with opened(name, _FOLDER, dir_fd=top) as folder:
                done = _raise_folders(folder, top) or done
            os.rmdir(name, dir_fd=top)
            done = True
    return done


def _raise_folders(folder: int, top: int) -> bool:
    below, unlinked = _unlinked(folder)
    raised = 0
    for name in below:
        with contextlib.suppress(OSError):
            os.rename(name, f".{secrets.token_hex(12)}", src_dir_fd=folder, dst_dir_fd=top)
            raised += 1
    return raised + unlinked > 0


def _unlinked(folder: int) -> tuple[list[str], int]:
    """Remove all but folders directly in `folder`; returns the folders, and how many were removed."""
    folders, unlinked = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                continue
            with contextlib.suppress(OSError):
                os.unlink(entry.name, dir_fd=folder)
                unlinked += 1
    return folders, unlinked
