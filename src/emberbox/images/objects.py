"""Files under their own digest: `objects/SHA256/NAME`, never changed once they are there."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageCorrupt
from emberbox.files.atomic import sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A stored file: SHA-256 as hex, name and size in bytes."""

    digest: str
    name: str
    size: int


class ObjectStore:
    """The folder of objects. Methods block.

    Args:
        folder: `objects`; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, stored: StoredObject) -> Path:
        """Return where an object lies, whether it is there or not."""
        return self._folder / stored.digest / stored.name

    def has(self, stored: StoredObject) -> bool:
        """Tell whether an object is there with its size."""
        try:
            return self.path(stored).stat().st_size == stored.size
        except OSError:
            return False

    def has_all(self, objects: Mapping[str, StoredObject]) -> bool:
        """Tell whether all files of a record are there."""
        return all(self.has(stored) for stored in objects.values())

    def add(self, file: Path, name: str) -> StoredObject:
        """Move a file in. It is readable to all and complete on the disk before its name exists.

        Args:
            file: On the same file system; gone afterwards.
            name: Its name in the store.
        """
        digest = file_digest(file)
        stored = StoredObject(digest, name, file.stat().st_size)
        if self.has(stored):
            file.unlink()
            return stored
        staged = file.with_name(f"{file.name}.object")
        staged.mkdir()
        file.chmod(0o444)
        file.rename(staged / name)
        sync(staged / name)
        sync(staged)
        staged.chmod(0o755)
        target = self._folder / digest
        if target.exists():
            # A damaged object of the same digest (it has another size) gives way.
            shutil.rmtree(target)
        staged.rename(target)
        sync(self._folder)
        return stored

    def digests(self) -> Iterator[str]:
        """Go through the digests of all objects."""
        for folder in sorted(self._folder.iterdir()):
            yield folder.name

    def size(self, digest: str) -> int:
        """Return an object's size on disk in bytes."""
        return sum(file.stat().st_blocks * 512 for file in (self._folder / digest).iterdir())

    def remove(self, digest: str) -> None:
        """Remove an object; one that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / digest)

    def verify(self, stored: StoredObject) -> None:
        """Read an object and compare it with its digest; raises `ImageCorrupt`."""
        path = self.path(stored)
        try:
            digest = file_digest(path)
        except OSError as error:
            raise ImageCorrupt(
                f"the image's file {stored.name} cannot be read: {error.strerror}", detail=str(path)
            ) from error
        if digest != stored.digest:
            raise ImageCorrupt(
                f"the image's file {stored.name} is not what was stored; build the image anew: emberbox "
                "images build --force",
                detail=f"{path}: {digest}",
            )


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
