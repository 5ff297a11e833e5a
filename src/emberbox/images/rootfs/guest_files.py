"""What every root filesystem holds beyond packages: the guest's user, its folders and its names."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from emberbox.files.paths import tree_of
from emberbox.images.rootfs.ext4 import Owner

if TYPE_CHECKING:
    from pathlib import Path

USER_ID = 1000
"""User and group number of the unprivileged user whom programs run as."""

_FOLDERS: tuple[tuple[str, int], ...] = (
    ("dev", 0o755),
    ("mnt", 0o755),
    ("mnt/script", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
    ("work", 0o755),
)
USER_FILE = "etc/emberbox/user"
"""Tells the agent whom programs run as, `uid:gid`, where that is another than the unprivileged user."""
NAME_FILES: tuple[tuple[str, str], ...] = (
    ("etc/hostname", "sandbox\n"),
    ("etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("etc/resolv.conf", ""),
    ("etc/machine-id", ""),
)
_ACCOUNTS: tuple[tuple[str, str, int], ...] = (
    ("etc/passwd", f"user:x:{USER_ID}:{USER_ID}:user:/work:/bin/bash", 0o644),
    ("etc/group", f"user:x:{USER_ID}:", 0o644),
    ("etc/shadow", "user:!:19000:0:99999:7:::", 0o600),
    ("etc/gshadow", "user:!::", 0o600),
)
_LEFTOVERS = (
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid",
    "etc/subgid",
    "etc/.pwd.lock",
)


def add_guest_files(root: Path, user: str | None = None) -> dict[str, Owner]:
    """Write the guest's user, folders and names below `root`; returns the owners that are not root.

    Args:
        root: The root filesystem's folder.
        user: Whom programs run as, `uid:gid`; None for the unprivileged user.
    """
    for name, mode in _FOLDERS:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    for name, text in NAME_FILES:
        _replace(root / name, text, 0o644)
    if user is not None:
        _replace(root / USER_FILE, f"{user}\n", 0o644)
    for name, line, mode in _ACCOUNTS:
        _add_account(root / name, line, mode)
    for name in _LEFTOVERS:
        (root / name).unlink(missing_ok=True)
    for name, _ in _FOLDERS:
        os.utime(root / name, (0, 0))
    return {"work": Owner(USER_ID, USER_ID)}


def copy_files(source: Path, root: Path) -> list[str]:
    """Copy a recipe's folder onto `root`, with modes kept and times set to 0.

    Links are copied as links; caches that an interpreter leaves are not copied. Returns the paths
    written, relative to `root`.
    """
    written: list[str] = []
    for path in tree_of(source):
        relative = path.relative_to(source)
        _copy_one(path, root / relative)
        written.append(relative.as_posix())
    return written


def _copy_one(path: Path, target: Path) -> None:
    information = path.lstat()
    mode = stat.S_IMODE(information.st_mode) & 0o777
    if stat.S_ISDIR(information.st_mode):
        if not target.is_dir():
            target.mkdir()
            target.chmod(mode | 0o555)
        return
    if target.is_symlink() or target.exists():
        target.unlink()
    if stat.S_ISLNK(information.st_mode):
        target.symlink_to(path.readlink())
        return
    shutil.copyfile(path, target)
    # A file that only its author could read would be of no use to the guest's user.
    target.chmod(mode | 0o444)
    os.utime(target, (0, 0))


def _replace(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    os.utime(path, (0, 0))


def _add_account(path: Path, line: str, mode: int) -> None:
    """Add an account to a file of accounts, in place of any of the same name or number."""
    name, _, number, *_ = line.split(":")
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    keep = [
        entry
        for entry in old
        if not _same(entry.split(":"), name, number if number.isdigit() and number == str(USER_ID) else None)
    ]
    _replace(path, "\n".join([*keep, line]) + "\n", mode)


def _same(fields: list[str], name: str, number: str | None) -> bool:
    return fields[0] == name or (number is not None and len(fields) > 2 and fields[2] == number)
