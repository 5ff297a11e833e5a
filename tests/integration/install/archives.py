"""Archives as Firecracker publishes them, made of programs that tell a version."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.vmm.firecracker.install.release import Release

if TYPE_CHECKING:
    from collections.abc import Callable

RELEASE = Release("1.16.1", os.uname().machine)
OTHER = Release("1.16.1", "aarch64" if RELEASE.architecture == "x86_64" else "x86_64")


def program(name: str, version: str = "1.16.1") -> bytes:
    """Return a program that tells its version as Firecracker and its jailer do."""
    title = name.capitalize()
    said = f"{title} v{version}\\n\\nmore lines\\n"
    return f'#!/bin/sh\n[ "$1" = --version ] || exit 2\nprintf "{said}"\n'.encode()


@dataclass(frozen=True)
class Archive:
    """An archive and what is published about it."""

    content: bytes
    release: Release = RELEASE

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def path(self) -> str:
        """Return where it is on a release page."""
        return f"/v{self.release.version}/{self.release.archive}"

    def pages(self) -> dict[str, bytes]:
        """Return the two files of a release page."""
        return {
            self.path: self.content,
            f"{self.path}.sha256.txt": f"{self.sha256}  {self.release.archive}\n".encode(),
        }


def make_archive(
    release: Release = RELEASE,
    *,
    programs: dict[str, bytes] | None = None,
    also: dict[str, bytes] | None = None,
    change: Callable[[tarfile.TarInfo], None] = lambda _info: None,
) -> Archive:
    """Return an archive.

    Args:
        release: What its members are named after.
        programs: Content of `firecracker` and `jailer`; None for ones that tell the version of `release`.
        also: More members by their whole name.
        change: Changes a program's entry before it is written.
    """
    made = (
        programs
        if programs is not None
        else {name: program(name, release.version) for name in ("firecracker", "jailer")}
    )
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in (also or {"release-notes.txt": b"notes"}).items():
            archive.addfile(_entry(name, content), io.BytesIO(content))
        for name, content in made.items():
            entry = _entry(release.member(name), content)
            change(entry)
            archive.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return Archive(stream.getvalue(), release)


def _entry(name: str, content: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    return entry
