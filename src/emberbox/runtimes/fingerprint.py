"""A digest over all files of a folder."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_PART = {"__pycache__"}


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256, as hex, over names, modes and content of everything below `folder`.

    Caches that an interpreter leaves (`__pycache__`) do not count. Links count by their target's text.
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
        folders[:] = sorted(name for name in folders if name not in _NOT_PART)
        for name in sorted([*folders, *files]):
            path = Path(root) / name
            yield path.relative_to(folder).as_posix(), path
