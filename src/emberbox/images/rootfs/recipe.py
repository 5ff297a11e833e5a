"""What a root filesystem is made from, as a runtime says it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Protocol

from emberbox.files.paths import tree_of
from emberbox.images.debian.packages import BASE, INSTALLERS
from emberbox.images.records import BUILDER_VERSION
from emberbox.images.rootfs.tree import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ImageInputs(Protocol):
    """A runtime's part that says what its root filesystem is made from."""

    @property
    def suite(self) -> str:
        """The Debian release that packages and kernel come from."""

    @property
    def packages(self) -> Sequence[str]:
        """Debian packages."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Folders copied onto the root, in this order."""

    @property
    def remove(self) -> Sequence[str]:
        """Globs that are removed."""

    @property
    def imported(self) -> str | None:
        """Digest of the imported image that is the root filesystem; None where it is made of packages."""

    @property
    def user(self) -> str | None:
        """Whom programs run as, `uid:gid`; None for the unprivileged user."""


class BuildableRuntime(Protocol):
    """What an image needs to know of a runtime."""

    @property
    def name(self) -> str:
        """Its name, safe as a folder's."""

    @property
    def manifest(self) -> Path:
        """Its manifest, for messages."""

    @property
    def fingerprint(self) -> str:
        """Digest over all its files."""

    @property
    def image(self) -> ImageInputs:
        """What the root filesystem is made from."""


def rootfs_inputs(image: ImageInputs, architecture: str) -> dict[str, Any]:
    """Return the input of a root filesystem's key; other changes of a runtime leave it alone.

    Reads its files.
    """
    return {
        **({"user": image.user} if image.user is not None else {}),
        "packages": sorted(image.packages),
        "remove": sorted(image.remove),
        "files": files_digest(*image.files),
        "suite": image.suite,
        "architecture": architecture,
        "builder": BUILDER_VERSION,
        "base": sorted(BASE),
        "installers": sorted(INSTALLERS),
        "never": sorted(NEVER),
    }


def files_digest(*folders: Path) -> str:
    """Return the SHA-256 over names, modes and content below the folders; of nothing for none."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in tree_of(folder):
            digest.update(_entry(path, path.relative_to(folder).as_posix()))
    return digest.hexdigest()


def _entry(path: Path, name: str) -> bytes:
    mode = path.lstat().st_mode
    content = (
        path.read_bytes()
        if stat.S_ISREG(mode)
        else os.fsencode(path.readlink())
        if stat.S_ISLNK(mode)
        else b""
    )
    return json.dumps([name, mode, hashlib.sha256(content).hexdigest()]).encode()
