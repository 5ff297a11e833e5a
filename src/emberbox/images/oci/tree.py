"""A file system in memory, which layers are applied to: its names and links never reach the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from emberbox.errors import ImageImportFailed
from emberbox.images.oci import bounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emberbox.files.tar_fields import Parts

Kind = Literal["folder", "file", "link"]


@dataclass(frozen=True, slots=True)
class Content:
    """Where the content of a file lies in a layer's archive.

    Args:
        layer: The layer's number.
        start: Offset of the first byte.
        parts: Of a sparse file: offset in it and length of what is stored one after the other; the rest is
            zeros.
    """

    layer: int
    start: int
    parts: Parts | None = None


@dataclass(slots=True, eq=False)
class Node:
    """A folder, a file or a symbolic link. Names that are hard links of each other share one node.

    Args:
        kind: What it is.
        mode: Permission bits.
        uid, gid: Owner.
        time_s: Time of its last change.
        target: Of a link: what it says.
        data: Of a file that was not in a layer: its content.
        source: Of a file in a layer: where its content is.
        size: Of a file: bytes.
        children: Of a folder: names, each with its node and the layer that put it there.
        purged: Of a folder: the layer that last took away what lower layers had in it.
    """

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    time_s: int = 0
    target: str = ""
    data: bytes | None = None
    source: Content | None = None
    size: int = 0
    children: dict[str, tuple[Node, int]] = field(default_factory=dict)
    purged: int = -1


class Tree:
    """The file system that the layers so far make."""

    def __init__(self) -> None:
        self.root = Node("folder")

    def find(self, path: str) -> Node | None:
        """Return what is at a path, links followed within the tree; None where there is nothing."""
        return _at(*self._resolve(_parts(path), make=None))

    def entry(self, parts: Sequence[str]) -> Node | None:
        """Return what is at a path, a link at its end not followed."""
        folder = self.parent(parts, make=None)
        return None if folder is None else _at(folder, parts[-1])

    def parent(self, parts: Sequence[str], *, make: int | None) -> Node | None:
        """Return the folder that an entry lies in, links followed.

        Args:
            parts: The path's names; at least one.
            make: The layer that missing folders are made for; None makes none.

        Raises:
            ImageImportFailed: A file is in the way, or links lead round in a circle.
        """
        if len(parts) == 1:
            return self.root
        return _at(*self._resolve(list(parts[:-1]), make=make))

    def put(self, parts: Sequence[str], node: Node, layer: int) -> None:
        """Put a node at a path in place of another; a folder that replaces a folder keeps the contents."""
        folder = self.parent(parts, make=layer)
        if folder is None or folder.kind != "folder":
            raise ImageImportFailed(
                f"the image is broken: {'/'.join(parts)[:200]!r} lies below what is no folder"
            )
        old = folder.children.get(parts[-1])
        if old is not None and old[0].kind == "folder" and node.kind == "folder":
            node.children, node.purged = old[0].children, old[0].purged
        folder.children[parts[-1]] = (node, layer)

    def white_out(self, parts: Sequence[str], layer: int) -> None:
        """Remove what lower layers have at a path; nothing happens where they have nothing."""
        folder = self.parent(parts, make=None)
        found = folder.children.get(parts[-1]) if folder is not None else None
        if folder is None or found is None:
            return
        if found[1] < layer and (found[0].kind != "folder" or not _keeps(found[0], layer)):
            del folder.children[parts[-1]]
        elif found[0].kind == "folder":
            _purge(found[0], layer)

    def make_opaque(self, parts: Sequence[str], layer: int) -> None:
        """Remove what lower layers have in a folder."""
        node = self.entry(parts) if parts else self.root
        if node is not None and node.kind == "folder":
            _purge(node, layer)

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Go through all entries below the root in the order of their names, each folder first."""
        waiting: list[tuple[str, Node]] = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            # Links can lead an entry deeper than its own name says.
            if len(path) > bounds.PATH_BYTES:
                raise ImageImportFailed(
                    f"the image holds a path longer than {bounds.PATH_BYTES} characters", detail=path
                )
            if path:
                yield path, node
            names = sorted(node.children, reverse=True)
            waiting += [(f"{path}/{name}" if path else name, node.children[name][0]) for name in names]

    def _resolve(self, parts: list[str], *, make: int | None) -> tuple[Node | None, str | None]:
        """Walk to a folder.

        Returns it, or, at a path's end that is no folder, the folder above it and the name.
        """
        trail, waiting, hops, steps = [self.root], list(reversed(parts)), 0, 0
        while waiting:
            steps += 1
            name = waiting.pop()
            if name == "..":
                trail = trail[:-1] or [self.root]
                continue
            found = trail[-1].children.get(name)
            if found is None:
                if make is None:
                    return None, None
                found = trail[-1].children[name] = (Node("folder"), make)
            node = found[0]
            if node.kind == "link":
                hops += 1
                if hops > bounds.LINK_HOPS or steps > bounds.STEPS:
                    return None, None
                trail = [self.root] if node.target.startswith("/") else trail
                waiting += reversed(_parts(node.target))
            elif node.kind == "folder":
                trail.append(node)
            elif waiting:
                return None, None
            else:
                return trail[-1], name
        return trail[-1], None


def _at(folder: Node | None, name: str | None) -> Node | None:
    """Return what a folder has under a name, or without a name the folder itself."""
    if folder is None or name is None:
        return folder
    found = folder.children.get(name)
    return found[0] if found is not None else None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _keeps(folder: Node, layer: int) -> bool:
    """Tell whether something below a folder is of this layer."""
    waiting = [folder]
    while waiting:
        node = waiting.pop()
        if node.purged == layer and node.children:
            return True
        for child, of in node.children.values():
            if of >= layer:
                return True
            if child.kind == "folder":
                waiting.append(child)
    return False


def _purge(folder: Node, layer: int) -> None:
    waiting = [folder]
    while waiting:
        node = waiting.pop()
        if node.purged == layer:
            continue
        node.purged = layer
        for name, (child, of) in list(node.children.items()):
            if child.kind == "folder" and (of >= layer or _keeps(child, layer)):
                waiting.append(child)
            elif of < layer:
                del node.children[name]
