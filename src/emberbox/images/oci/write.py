"""Writes a finished tree to a folder, whose owners are told beside it."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.images.rootfs.ext4 import Owner

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from emberbox.images.oci.tree import Content, Node, Tree

_CHUNK = 1024 * 1024


class LayerContents:
    """Copies files out of layers.

    Args:
        layers: The layers' tars, open.
    """

    def __init__(self, layers: list[IO[bytes]]) -> None:
        self._layers = layers

    def read(self, node: Node, most: int) -> bytes:
        """Return the beginning of a file that has no holes."""
        if node.source is None:
            return node.data or b""
        stream = self._layers[node.source.layer]
        stream.seek(node.source.start)
        return stream.read(min(node.size, most))

    def copy(self, source: Content, size: int, output: IO[bytes]) -> None:
        """Write a file's content; raises `ImageImportFailed` where the layer has less of it than it says."""
        stream = self._layers[source.layer]
        stream.seek(source.start)
        for offset, length in ((0, size),) if source.parts is None else source.parts:
            output.seek(offset)
            while length > 0:
                if not (chunk := stream.read(min(length, _CHUNK))):
                    raise ImageImportFailed("the image is broken: a layer ends within a file")
                output.write(chunk)
                length -= len(chunk)
        output.truncate(size)


def write_tree(tree: Tree, folder: Path, contents: LayerContents, stop: threading.Event) -> dict[str, Owner]:
    """Write `tree` into the new folder `folder`; returns the owners that are not root, by path.

    Every folder that something is written to was made here before, so no link of the image is ever followed.

    Args:
        tree: What is written.
        folder: Must not exist.
        contents: Has the files of the layers.
        stop: Ends the work early when it is set.
    """
    folder.mkdir(mode=0o755)
    owners: dict[str, Owner] = {}
    written: dict[int, Path] = {}
    folders: list[tuple[Path, Node]] = []
    for name, node in tree.walk():
        if stop.is_set():
            raise ImageBuildFailed("the import was cancelled")
        path = folder / name
        if node.uid or node.gid:
            owners[name] = Owner(node.uid, node.gid)
        if node.kind == "folder":
            path.mkdir(mode=0o700)
            folders.append((path, node))
        elif id(node) in written:
            path.hardlink_to(written[id(node)])
        else:
            written[id(node)] = path
            _write(path, node, contents)
    for path, node in reversed(folders):
        # Always open to its owner, so that the file system can be made and the build removed.
        path.chmod(node.mode | 0o700)
        os.utime(path, (node.time_s, node.time_s))
    folder.chmod(0o755)
    return owners


def _write(path: Path, node: Node, contents: LayerContents) -> None:
    if node.kind == "link":
        path.symlink_to(node.target)
    else:
        with path.open("xb") as output:
            if node.data is not None:
                output.write(node.data)
            elif node.source is not None:
                contents.copy(node.source, node.size, output)
        path.chmod(node.mode | 0o400)
    os.utime(path, (node.time_s, node.time_s), follow_symlinks=False)
