"""Applies layers to a tree: entries, whiteouts and opaque folders."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.files.tar_fields import BadTar, NoTar
from emberbox.files.tars import TarEntry, TarReader
from emberbox.images.oci import bounds
from emberbox.images.oci.tree import Content, Node, Tree

if TYPE_CHECKING:
    import threading

    from emberbox.images.oci.layer import Budget

_WHITEOUT = ".wh."
_AUFS = ".wh..wh."
_OPAQUE = ".wh..wh..opq"
_PERMISSIONS = 0o777
"""The bits that let a program act as another user go, as in all of Emberbox's images."""
_FOLDER_PERMISSIONS = 0o1777


class LayerReader:
    """Applies the entries of one layer.

    Args:
        tree: Takes them.
        number: The layer's, counted from 0 at the lowest.
        budget: Bounds over all layers.
    """

    def __init__(self, tree: Tree, number: int, budget: Budget) -> None:
        self._tree = tree
        self._number = number
        self._budget = budget
        self.dropped = 0
        """Devices, pipes and sockets that were left out."""

    def read(self, stream: IO[bytes], stop: threading.Event) -> None:
        """Apply a whole layer.

        Raises:
            ImageImportFailed: It is broken, or an entry could not be anywhere in a file system.
        """
        if not stream.read(1):
            return  # a layer in which nothing changed
        stream.seek(0)
        what = f"layer {self._number + 1} of the image"
        try:
            for entry in TarReader(stream, header_bytes=bounds.HEADER_BYTES):
                if stop.is_set():
                    raise ImageBuildFailed("the import was cancelled")
                self._budget.take_entry()
                self._take(entry)
        except NoTar as error:
            raise ImageImportFailed(f"{what} is no tar archive") from error
        except BadTar as error:
            raise ImageImportFailed(f"{what} is broken: {error}") from error

    def _take(self, entry: TarEntry) -> None:
        parts = split_name(entry.name)
        if not parts:
            if entry.kind == "folder":
                root = self._tree.root
                root.mode, root.time_s = entry.mode & _FOLDER_PERMISSIONS, _time(entry)
                root.uid, root.gid = _owner(entry)
            return
        if any(part.startswith(_AUFS) for part in parts[:-1]):
            return
        if parts[-1].startswith(_WHITEOUT):
            self._white_out(parts)
            return
        node = self._node(entry)
        if node is None:
            self.dropped += 1
        else:
            self._tree.put(parts, node, self._number)

    def _white_out(self, parts: list[str]) -> None:
        name = parts[-1]
        if name == _OPAQUE:
            self._tree.make_opaque(parts[:-1], self._number)
        elif not name.startswith(_AUFS):
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in {"", ".", ".."}:
                raise ImageImportFailed(f"the image is broken: {name!r} removes no file")
            self._tree.white_out([*parts[:-1], hidden], self._number)

    def _node(self, entry: TarEntry) -> Node | None:
        uid, gid = _owner(entry)
        if entry.kind == "folder":
            return Node("folder", entry.mode & _FOLDER_PERMISSIONS, uid, gid, _time(entry))
        if entry.kind == "link":
            if not 1 <= len(entry.target.encode("utf-8", "surrogateescape")) <= bounds.LINK_BYTES:
                raise ImageImportFailed(f"the image is broken: {entry.name[:200]!r} is a link to nothing")
            return Node("link", 0o777, uid, gid, _time(entry), target=entry.target)
        if entry.kind == "hard link":
            return self._linked(entry)
        if entry.kind == "other":
            return None
        if entry.parts is not None:
            # A sparse file may take its whole size when it is written down, whatever the layer's own size.
            self._budget.take_bytes(entry.size)
        source = Content(self._number, entry.offset, entry.parts)
        return Node("file", entry.mode & _PERMISSIONS, uid, gid, _time(entry), source=source, size=entry.size)

    def _linked(self, entry: TarEntry) -> Node:
        parts = split_name(entry.target)
        node = self._tree.entry(parts) if parts else None
        if node is None or node.kind == "folder":
            what = f"{entry.name[:200]!r} is a hard link to what is no file in it"
            raise ImageImportFailed(f"the image is broken: {what}")
        return node


def split_name(name: str) -> list[str]:
    """Return the names of a path from the root, a leading `/` or `./` left out.

    Raises:
        ImageImportFailed: It leads upwards, or is nothing that a file can be called.
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    shown = repr(name[:200])
    if ".." in parts:
        raise ImageImportFailed(
            f"the image holds the name {shown}, which leads out of its root; it is not imported"
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ImageImportFailed(
            f"the image holds the name {shown} with control characters; it is not imported"
        )
    encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
    too_long = (
        any(len(part) > bounds.NAME_BYTES for part in encoded) or sum(map(len, encoded)) > bounds.PATH_BYTES
    )
    if too_long or len(parts) > bounds.DEPTH:
        raise ImageImportFailed(f"the image holds a name that is too long or too deep: {shown}")
    return parts


def _owner(entry: TarEntry) -> tuple[int, int]:
    if not (0 <= entry.uid <= bounds.MAX_ID and 0 <= entry.gid <= bounds.MAX_ID):
        raise ImageImportFailed(f"the image is broken: {entry.name[:200]!r} belongs to no possible user")
    return entry.uid, entry.gid


def _time(entry: TarEntry) -> int:
    return int(min(max(entry.time_s, 0), bounds.MAX_TIME_S))
