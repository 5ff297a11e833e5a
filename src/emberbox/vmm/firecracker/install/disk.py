"""Writing to a disk that may be full."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emberbox.errors import NoSpace

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


def write_whole(stream: BinaryIO, data: bytes, path: Path) -> None:
    """Write all of `data`. Raises `NoSpace` where the disk is full, and `OSError`."""
    try:
        view = memoryview(data)
        while view:
            view = view[stream.write(view) :]
    except OSError as error:
        if is_full(error):
            raise full(path) from error
        raise


def is_full(error: OSError) -> bool:
    """Tell whether the disk, or our share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def full(path: Path) -> NoSpace:
    """Return the error for a disk that cannot take `path`."""
    return NoSpace(
        f"no space left for {path}; free some, or set EMBERBOX_DATA to a folder on another disk. Nothing "
        "was installed"
    )
