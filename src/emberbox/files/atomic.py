"""Files that are there whole or not at all: written beside their place, then renamed, which is one step.

It works on every system that the SDK runs on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from typing import IO, TYPE_CHECKING, Self

from emberbox.files.descriptors import opened

if TYPE_CHECKING:
    from pathlib import Path

PARTIAL = ".emberbox-partial-"
"""Names of unfinished files begin so. One that is old was left by a process that was killed."""
ABANDONED_S = 3600.0
"""An unfinished file that was not written to for this long belongs to nobody."""
_PRIVATE = 0o600


class AtomicFile:
    """A file on its way to its place. Write to `file`, then `commit`; else its `with` block drops it.

    Until `commit`, what lies at `path` stays as it is. Several processes may write one path: the last wins.

    Args:
        path: Its place, in a folder that exists.
        mode: Its permission bits, whatever the umask, and until `commit` those of its owner alone; None for
            the bits that a new file gets here.
        durable: Whether `commit` waits until file and name are on the disk, to outlast a loss of power.
        aside: The folder, of the same file system, in which it is written; None for the one of `path`.

    Attributes:
        file: Takes its bytes.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int | None = _PRIVATE,
        durable: bool = False,
        aside: Path | None = None,
    ) -> None:
        self._path = path
        self._mode = mode
        self._durable = durable
        # Not named after the file, whose name may have the longest length already.
        self._partial = (aside or path.parent) / f"{PARTIAL}{secrets.token_hex(8)}"
        self._waits = True
        # Path.open takes no opener.
        self.file: IO[bytes] = open(self._partial, "xb", opener=self._open)  # noqa: SIM115

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags, 0o666 if self._mode is None else _PRIVATE)

    def commit(self) -> None:
        """Put the file in its place. Raises `OSError`; then it is discarded."""
        try:
            self.file.flush()
            if self._mode is not None and self._mode != _PRIVATE:
                self._partial.chmod(self._mode)
            if self._durable:
                os.fsync(self.file.fileno())
            self.file.close()
            self._partial.replace(self._path)
        except BaseException:
            self.discard()
            raise
        self._waits = False
        if self._durable:
            sync(self._path.parent)

    def discard(self) -> None:
        """Remove the file, if it was not committed. Repeating is harmless."""
        if self._waits:
            self._waits = False
            with contextlib.suppress(OSError):
                self.file.close()
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def write_file(
    path: Path,
    data: bytes | str,
    *,
    mode: int | None = _PRIVATE,
    durable: bool = False,
    aside: Path | None = None,
) -> None:
    """Write a whole file at once. Arguments are those of `AtomicFile`; text becomes UTF-8.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    with AtomicFile(path, mode=mode, durable=durable, aside=aside) as made:
        made.file.write(data.encode() if isinstance(data, str) else data)
        made.commit()


def remove_partial(folder: Path, older_than_s: float = ABANDONED_S) -> None:
    """Remove the unfinished files in a folder that nobody wrote to for so many seconds. Raises `OSError`."""
    for path in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; not on Windows. Raises `OSError`."""
    if sys.platform == "win32":
        return
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
