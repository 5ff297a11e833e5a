"""Applies layers to a tree: entries, whiteouts and opaque folders."""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING, Any, Final, cast

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.images.oci import bounds
from emberbox.images.oci.tree import Content, Node, Tree

if TYPE_CHECKING:
    import threading

    from emberbox.images.oci.layer import Budget

_WHITEOUT: Final = ".wh."
_AUFS: Final = ".wh..wh."
_OPAQUE: Final = ".wh..wh..opq"
_PERMISSIONS: Final = 0o777
"""The bits that let a program act as another user go, as in all of Emberbox's images."""
_FOLDER_PERMISSIONS: Final = 0o1777
_BROKEN = (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError, KeyError)


class BoundedReader:
    """A file of which only so much is read for one entry: tarfile takes headers of any size, and does not stop at the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = bounds.HEADER_BYTES

    def begin_entry(self) -> None:
        """Let the next entry be read."""
        self._left = bounds.HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes of the present entry's headers."""
        self._left -= size
        if size < 0 or self._left < 0:
            raise ValueError("a header that is too long, or has no end")
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


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
        reader = BoundedReader(stream)
        try:
            with tarfile.TarFile(fileobj=cast("IO[bytes]", reader), errorlevel=2) as tar:
                while (member := tar.next()) is not None:
                    # tarfile would keep every entry.
                    tar.members.clear()  # type: ignore[attr-defined]
                    reader.begin_entry()
                    if stop.is_set():
                        raise ImageBuildFailed("the import was cancelled")
                    self._budget.take_entry()
                    self._take(member)
                _check_end(stream, tar.offset)
        except tarfile.ReadError as error:
            if not _is_empty(stream):
                raise ImageImportFailed(f"layer {self._number + 1} of the image is no tar archive", detail=str(error)) from error
        except _BROKEN as error:
            raise ImageImportFailed(f"layer {self._number + 1} of the image is broken", detail=repr(error)[:500]) from error

    def _take(self, member: tarfile.TarInfo) -> None:
        parts = split_name(member.name)
        if not parts:
            if member.isdir():
                self._set_root(member)
            return
        if any(part.startswith(_AUFS) for part in parts[:-1]):
            return
        if parts[-1].startswith(_WHITEOUT):
            self._white_out(parts)
            return
        node = self._node(member)
        if node is None:
            self.dropped += 1
        else:
            self._tree.put(parts, node, self._number)

    def _set_root(self, member: tarfile.TarInfo) -> None:
        root = self._tree.root
        root.mode, root.time_s = member.mode & _FOLDER_PERMISSIONS, _time(member)
        root.uid, root.gid = _owner(member)

    def _white_out(self, parts: list[str]) -> None:
        name = parts[-1]
        if name == _OPAQUE:
            self._tree.make_opaque(parts[:-1], self._number)
        elif not name.startswith(_AUFS):
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in {"", ".", ".."}:
                raise ImageImportFailed(f"the image is broken: {name!r} removes no file")
            self._tree.white_out([*parts[:-1], hidden], self._number)

    def _node(self, member: tarfile.TarInfo) -> Node | None:
        uid, gid = _owner(member)
        if member.isdir():
            return Node("folder", member.mode & _FOLDER_PERMISSIONS, uid, gid, _time(member))
        if member.issym():
            if not 1 <= len(member.linkname.encode("utf-8", "surrogateescape")) <= bounds.LINK_BYTES or "\0" in member.linkname:
                raise ImageImportFailed(f"the image is broken: {member.name[:200]!r} is a link to nothing")
            return Node("link", 0o777, uid, gid, _time(member), target=member.linkname)
        if member.islnk():
            return self._linked(member)
        if not member.isreg():
            return None
        pieces: tuple[tuple[int, int], ...] | None = None
        # Not in tarfile's stubs: (offset, length) of each piece.
        holes: list[tuple[int, int]] | None = cast("Any", member).sparse
        if holes is not None:
            # A sparse file may take its whole size when it is written down, whatever the layer's own size.
            self._budget.take_bytes(member.size)
            pieces = tuple(holes)
        source = Content(self._number, member.offset_data, pieces)
        return Node("file", member.mode & _PERMISSIONS, uid, gid, _time(member), source=source, size=member.size)

    def _linked(self, member: tarfile.TarInfo) -> Node:
        parts = split_name(member.linkname)
        node = self._tree.entry(parts) if parts else None
        if node is None or node.kind == "folder":
            raise ImageImportFailed(f"the image is broken: {member.name[:200]!r} is a hard link to what is no file in it")
        return node


def split_name(name: str) -> list[str]:
    """Return the names of a path from the root, a leading `/` or `./` left out.

    Raises:
        ImageImportFailed: It leads upwards, or is nothing that a file can be called.
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    shown = repr(name[:200])
    if ".." in parts:
        raise ImageImportFailed(f"the image holds the name {shown}, which leads out of its root; it is not imported")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ImageImportFailed(f"the image holds the name {shown} with control characters; it is not imported")
    encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
    too_long = any(len(part) > bounds.NAME_BYTES for part in encoded) or sum(map(len, encoded)) > bounds.PATH_BYTES
    if too_long or len(parts) > bounds.DEPTH:
        raise ImageImportFailed(f"the image holds a name that is too long or too deep: {shown}")
    return parts


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= member.uid <= bounds.MAX_ID and 0 <= member.gid <= bounds.MAX_ID):
        raise ImageImportFailed(f"the image is broken: {member.name[:200]!r} belongs to no possible user")
    return member.uid, member.gid


def _time(member: tarfile.TarInfo) -> int:
    return int(min(max(float(member.mtime), 0), bounds.MAX_TIME_S))


def _is_empty(stream: IO[bytes]) -> bool:
    stream.seek(0)
    return not stream.read(1024).strip(b"\0")


def _check_end(stream: IO[bytes], offset: int) -> None:
    """Tell an archive's end from a header that tarfile gave up on, which it passes over in silence."""
    stream.seek(offset)
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise ImageImportFailed("the image is broken: a layer holds something that is no entry")
