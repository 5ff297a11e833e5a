"""A digest over all files of a runtime's folder that have a part in what it is."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_PART = {"__pycache__"}
_NOT_PART_AT_THE_TOP = {"examples"}
"""What is only ever run, so that a change of it leaves images and templates as they are."""


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256, as hex, over names, modes and content of everything below `folder`.

    Its own folder `examples` does not count, nor do caches that an interpreter leaves
    (`__pycache__`). Links count by their target's text.
    """
    digest = hashlib.sha256()
    for relative, path in _walk(folder):
        information = path.lstat()
        kind = stat.S_IFMT(information.st_mode)
        content = path.read_bytes() if stat.S_ISREG(kind) else b""
        target = os.fsencode(path.readlink()) if stat.S_ISLNK(kind) else b""
        for part in (os.fsencode(relative), b"%o" % information.st_mode, content, target):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        ignored = _NOT_PART | _NOT_PART_AT_THE_TOP if Path(root) == folder else _NOT_PART
        folders[:] = sorted(name for name in folders if name not in ignored)
        for name in sorted([*folders, *files]):
            path = Path(root) / name
            yield path.relative_to(folder).as_posix(), path
