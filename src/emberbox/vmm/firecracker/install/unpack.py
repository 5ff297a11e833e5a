"""Takes the two programs out of a release's archive, and nothing else."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.vmm.firecracker.install.disk import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.install.release import Release

PROGRAMS = ("firecracker", "jailer")
_PROGRAM_BYTES = 64 * 1024 * 1024
_ARCHIVE_BYTES = 1024 * 1024 * 1024
_MEMBERS = 1000
_CHUNK = 1024 * 1024


def unpack(archive: Path, release: Release, folder: Path) -> None:
    """Write `firecracker` and `jailer` into `folder`, executable. Blocks.

    Only plain files of the two expected names are read, one after the other; no name in the archive becomes a path.

    Raises:
        RequirementMissing: It is no such archive, or of another version or architecture.
        NoSpace: The disk is full.
    """
    wanted = {release.member(program): folder / program for program in PROGRAMS}
    try:
        with tarfile.open(archive, "r:gz") as opened:
            seen = _take(opened, wanted)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise RequirementMissing(
            f"{archive.name} is not the archive of a release (a tar file packed by gzip). Fetch it again", detail=repr(error)
        ) from error
    missing = sorted(name for name, path in wanted.items() if not path.exists())
    if missing:
        others = ", ".join(name for name in seen if "firecracker-v" in name)[:200]
        raise RequirementMissing(
            f"{archive.name} does not hold {missing[0]}: it is of another version or architecture"
            + (f" (it holds {others})" if others else "")
            + f". This host needs {release.archive}"
        )


def _take(opened: tarfile.TarFile, wanted: dict[str, Path]) -> list[str]:
    seen: list[str] = []
    bytes_before = 0
    for member in opened:
        name = member.name.removeprefix("./")
        seen.append(name)
        bytes_before += member.size
        if len(seen) > _MEMBERS or bytes_before > _ARCHIVE_BYTES:
            raise RequirementMissing("the archive holds more than a release may; it is not one")
        if name not in wanted or wanted[name].exists():
            continue
        if not member.isreg():
            raise RequirementMissing(f"{name} in the archive is not a plain file; it is not what was published")
        if member.size > _PROGRAM_BYTES:
            raise RequirementMissing(f"{name} in the archive has {member.size} bytes; a release's has far less")
        _write(opened, member, wanted[name])
    return seen


def _write(opened: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = opened.extractfile(member)
    if content is None:
        raise RequirementMissing(f"{member.name} in the archive cannot be read; fetch it again")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    with content, os.fdopen(descriptor, "wb", buffering=0) as stream:
        while data := content.read(_CHUNK):
            write_whole(stream, data, target)
        os.fchmod(stream.fileno(), 0o755)
        os.fsync(stream.fileno())
