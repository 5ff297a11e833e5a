"""Unpacks an installed root from its tar into a folder, leaving out what no guest needs."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed
from emberbox.files.globs import GlobSet
from emberbox.images.debian.packages import Package, needed, parse_status
from emberbox.images.rootfs.ext4 import Owner

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NEVER = (
    "boot",
    "dev/*",
    "etc/apt",
    "etc/cron*",
    "etc/dpkg",
    "etc/machine-id",
    "etc/systemd",
    "proc/*",
    "run/*",
    "sys/*",
    "tmp/*",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "var/cache/*",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/lib/systemd",
    "var/log/*",
)
"""Globs that are left out of every root filesystem."""

_MODE_BITS = 0o777


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What `unpack` made: owners that are not root, by path, and the packages that are left."""

    owners: dict[str, Owner]
    packages: tuple[Package, ...]


def unpack(
    archive: Path, folder: Path, wanted: Sequence[str], remove: Sequence[str], stop: threading.Event
) -> Unpacked:
    """Unpack `archive` into the new folder `folder`.

    Left out are the packages that neither `wanted` nor a usual guest needs, what `NEVER` and
    `remove` match, devices, and the bits that let a program act as another user.

    Args:
        archive: Tar of an installed root with dpkg's database.
        folder: Must not exist.
        wanted: Package names.
        remove: Globs relative to the root; `**` stands for any number of folders.
        stop: Ends the work early when it is set.

    Raises:
        ImageBuildFailed: The archive is no root filesystem, or `stop` was set.
    """
    left_out = GlobSet([*NEVER, *remove])
    owners: dict[str, Owner] = {}
    with tarfile.open(archive) as tar:
        members = {posixpath.normpath(member.name).lstrip("/"): member for member in tar.getmembers()}
        packages = parse_status(_text(tar, members, "var/lib/dpkg/status"))
        kept = needed(packages, wanted)
        dropped = _files_only_of(tar, members, packages.keys() - kept, kept)
        folder.mkdir(mode=0o755)
        folders: list[tuple[Path, tarfile.TarInfo]] = []
        for name in sorted(members):
            if stop.is_set():
                raise ImageBuildFailed("the build was cancelled")
            member = members[name]
            if name == "." or name in dropped or left_out.covers(name):
                continue
            if _write(tar, member, folder / name, folder) and (member.uid, member.gid) != (0, 0):
                owners[name] = Owner(member.uid, member.gid)
            if member.isdir():
                folders.append((folder / name, member))
        _finish_folders(folders, folder)
    return Unpacked(owners, tuple(packages[name] for name in sorted(kept)))


def _files_only_of(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], dropped: Iterable[str], kept: Iterable[str]
) -> set[str]:
    mine = {path for name in kept for path in _file_list(tar, members, name)}
    return {path for name in dropped for path in _file_list(tar, members, name)} - mine


def _file_list(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], package: str) -> list[str]:
    names = [f"var/lib/dpkg/info/{package}{suffix}.list" for suffix in ("", ":amd64", ":arm64")]
    name = next((name for name in names if name in members), None)
    if name is None:
        return []
    lines = _text(tar, members, name).splitlines()
    # A merged-/usr root holds what a package calls /bin/x as usr/bin/x.
    return [_merged(line.strip("/"), members) for line in lines if line not in {"", "/."}]


def _merged(path: str, members: dict[str, tarfile.TarInfo]) -> str:
    top, _, rest = path.partition("/")
    if rest and top in members and members[top].issym():
        return posixpath.join(members[top].linkname.lstrip("/"), rest)
    return path


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path) -> bool:
    if not (member.isdir() or member.isreg() or member.issym() or member.islnk()):
        return False
    # Folders of dropped packages that hold files of others come back here, empty ones do not matter.
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        target.mkdir(exist_ok=True)
        return True
    if member.issym():
        target.symlink_to(member.linkname)
        _set_time(target, member)
        return True
    if member.islnk():
        source = root / posixpath.normpath(member.linkname).lstrip("/")
        if source.exists():
            target.hardlink_to(source)
            return False
        member = tar.getmember(member.linkname)
    content = tar.extractfile(member)
    if content is None:
        return False
    with target.open("wb") as stream:
        shutil.copyfileobj(content, stream, 1024 * 1024)
    target.chmod(stat.S_IMODE(member.mode) & _MODE_BITS)
    _set_time(target, member)
    return True


def _finish_folders(folders: list[tuple[Path, tarfile.TarInfo]], root: Path) -> None:
    for path, member in sorted(folders, key=lambda entry: len(entry[0].parts), reverse=True):
        # Always writable by its owner, so that a build can be removed.
        path.chmod((stat.S_IMODE(member.mode) & 0o1777) | 0o700)
        _set_time(path, member)
    root.chmod(0o755)


def _set_time(path: Path, member: tarfile.TarInfo) -> None:
    os.utime(path, (int(member.mtime), int(member.mtime)), follow_symlinks=False)


def _text(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> str:
    stream = tar.extractfile(members[name]) if name in members else None
    if stream is None:
        raise ImageBuildFailed(f"the installed root holds no {name}; did the installation end early?")
    return stream.read().decode("utf-8", "replace")
