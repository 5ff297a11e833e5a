"""Layers: what a build VM made, taken from its tar and written as a read-only file system.

Nothing of it ever runs on the host. The tar comes from a VM that ran strangers' code. It is read
entry by entry under bounds; an entry that is no plain file, folder or link, that lies outside of
the layer's own folder or whose link leads out of it ends the work.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed
from emberbox.files.tar_fields import BadTar
from emberbox.files.tars import TarEntry, TarReader
from emberbox.images.rootfs.ext4 import make_ext4
from emberbox.model import MIB

if TYPE_CHECKING:
    from pathlib import Path

_NAME_BYTES = 4096
_DEPTH = 64


class LayerRefused(ImageBuildFailed):
    """The tar holds what a layer must not hold; nothing of it is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBounds:
    """What a layer may be.

    Args:
        folder: Path relative to the root under which everything lies, such as `usr/local`.
        size: Bytes in all its files.
        files: Entries.
    """

    folder: str
    size: int
    files: int


async def make_layer(archive: Path, folder: Path, image: Path, bounds: LayerBounds) -> None:
    """Write the file system `image` with what is in a guest's tar; all of it belongs to root.

    Args:
        archive: The tar, names relative to the root.
        folder: Scratch folder that does not exist; stays.
        image: Must not exist.
        bounds: What is taken.

    Raises:
        LayerRefused: The tar holds something else; the message says what.
        ImageBuildFailed, NoSpace: The file system could not be written.
    """
    await asyncio.to_thread(unpack_layer, archive, folder, bounds)
    await make_ext4(folder, image, {})


def unpack_layer(archive: Path, folder: Path, bounds: LayerBounds) -> None:
    """Unpack a guest's tar into the new folder `folder`; blocks. Raises `LayerRefused`."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    unpacking = _Unpacking(folder, bounds)
    try:
        with archive.open("rb") as stream:
            reader = TarReader(stream)
            for entry in reader:
                unpacking.take(entry, reader)
    except BadTar as error:
        raise LayerRefused(
            f"the packages cannot be taken over: their archive is damaged ({error})"
        ) from error
    unpacking.finish()


class _Unpacking:
    def __init__(self, folder: Path, bounds: LayerBounds) -> None:
        self._folder = folder
        self._bounds = bounds
        self._size = 0
        self._files = 0
        self._folders: dict[str, int] = {}

    def take(self, entry: TarEntry, reader: TarReader) -> None:
        name = _normal(entry.name)
        self._count(name, entry.size)
        if name == ".":
            return
        if self._bounds.folder.startswith(f"{name}/"):
            if entry.kind != "folder":
                raise LayerRefused(f"the packages wrote {name!r}, which must be a folder")
            return
        if name != self._bounds.folder and not name.startswith(f"{self._bounds.folder}/"):
            raise LayerRefused(f"the packages wrote {name!r}, outside of /{self._bounds.folder}")
        target = self._folder / name
        self._parents(name)
        if entry.kind == "folder":
            self._make_folder(name, entry)
        elif entry.kind == "link":
            self._check_link(name, posixpath.join(posixpath.dirname(name), entry.target), entry.target)
            _absent(target, name)
            target.symlink_to(entry.target)
            _set_time(target, entry)
        elif entry.kind == "hard link":
            self._link(name, target, entry)
        elif entry.kind == "file" and entry.parts is None:
            self._write(entry, reader, target, name)
        else:
            raise LayerRefused(f"the packages made {name!r}, which is neither a file, a folder nor a link")

    def _count(self, name: str, size: int) -> None:
        self._files += 1
        self._size += size
        if self._files > self._bounds.files:
            raise LayerRefused(
                f"the packages have more than {self._bounds.files} files; raise packages.layer_files to "
                "allow it"
            )
        if self._size > self._bounds.size:
            limit = self._bounds.size // MIB
            raise LayerRefused(
                f"the packages take more than {limit} MiB; raise packages.layer_mib to allow it"
            )
        if len(os.fsencode(name)) > _NAME_BYTES or name.count("/") > _DEPTH:
            raise LayerRefused(f"the packages made a path that is too long or too deep: {name[:80]!r}…")

    def _check_link(self, name: str, target: str, shown: str) -> None:
        inside = posixpath.normpath(target)
        if shown.startswith("/") or not shown or not f"{inside}/".startswith(f"{self._bounds.folder}/"):
            raise LayerRefused(
                f"the packages made the link {name!r} to {shown!r}, which leads out of /{self._bounds.folder}"
            )

    def _parents(self, name: str) -> None:
        path = self._folder
        for part in name.split("/")[:-1]:
            path /= part
            try:
                if not stat.S_ISDIR(path.lstat().st_mode):
                    raise LayerRefused(f"the packages wrote {name!r} through something that is no folder")
            except FileNotFoundError:
                path.mkdir(mode=0o755)
                path.chmod(0o755)

    def _make_folder(self, name: str, entry: TarEntry) -> None:
        target = self._folder / name
        try:
            target.mkdir(mode=0o755)
        except FileExistsError:
            if not stat.S_ISDIR(target.lstat().st_mode):
                raise LayerRefused(f"the packages made {name!r} twice") from None
        target.chmod(0o755)
        self._folders[name] = _seconds(entry)

    def _link(self, name: str, target: Path, entry: TarEntry) -> None:
        source = _normal(entry.target)
        self._check_link(name, source, entry.target)
        path = self._folder
        for part in source.split("/"):
            if path.is_symlink():
                raise LayerRefused(f"the packages made the link {name!r} through another link")
            path /= part
        if not path.exists() or not stat.S_ISREG(path.lstat().st_mode):
            raise LayerRefused(
                f"the packages made the link {name!r} to {source!r}, which is no file of theirs"
            )
        _absent(target, name)
        target.hardlink_to(path)

    def _write(self, entry: TarEntry, reader: TarReader, target: Path, name: str) -> None:
        try:
            descriptor = os.open(
                target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            raise LayerRefused(f"the packages made {name!r} twice") from None
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(reader.pieces())
            os.fchmod(stream.fileno(), 0o755 if entry.mode & 0o111 else 0o644)
        _set_time(target, entry)

    def finish(self) -> None:
        for name, time_s in sorted(self._folders.items(), reverse=True):
            os.utime(self._folder / name, (time_s, time_s))


def _normal(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise LayerRefused(f"the packages wrote {name[:80]!r}, outside of their folder")
    return posixpath.normpath(name)


def _absent(target: Path, name: str) -> None:
    if os.path.lexists(target):
        raise LayerRefused(f"the packages made {name!r} twice")


def _seconds(entry: TarEntry) -> int:
    return min(max(int(entry.time_s), 0), 2**31 - 1)


def _set_time(path: Path, entry: TarEntry) -> None:
    os.utime(path, (_seconds(entry), _seconds(entry)), follow_symlinks=False)
