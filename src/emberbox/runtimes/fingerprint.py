"""A digest over all files of a runtime's folder that have a part in what it is."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from emberbox.files.paths import tree_of

if TYPE_CHECKING:
    from pathlib import Path

_NOT_PART = ("examples",)
"""What is only ever run, so that a change of it leaves images and templates as they are."""


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256, as hex, over names, modes and content of everything below `folder`.

    Its own folder `examples` does not count, nor do caches that an interpreter leaves
    (`__pycache__`). Links count by their target's text.
    """
    digest = hashlib.sha256()
    for path in tree_of(folder, without=_NOT_PART):
        relative = path.relative_to(folder)
        information = path.lstat()
        kind = stat.S_IFMT(information.st_mode)
        content = path.read_bytes() if stat.S_ISREG(kind) else b""
        target = os.fsencode(path.readlink()) if stat.S_ISLNK(kind) else b""
        for part in (os.fsencode(relative.as_posix()), b"%o" % information.st_mode, content, target):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
