"""Takes the two programs out of a release's archive, and nothing else."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.files.tar_fields import BadTar
from emberbox.files.tars import TarReader

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.install.release import Release

PROGRAMS = ("firecracker", "jailer")
_PROGRAM_BYTES = 64 * 1024 * 1024
_ARCHIVE_BYTES = 1024 * 1024 * 1024
_MEMBERS = 1000
_TOO_MUCH = "the archive holds more than a release may; it is not one"


def unpack(archive: Path, release: Release, folder: Path) -> None:
    """Write `firecracker` and `jailer` into `folder`, executable. Blocks.

    Only plain files of the two expected names are read, one after the other; no name in the archive
    becomes a path.

    Raises:
        RequirementMissing: It is no such archive, or of another version or architecture.
        OSError: It cannot be written.
    """
    wanted = {release.member(program): folder / program for program in PROGRAMS}
    try:
        with gzip.open(archive) as opened:
            seen = _take(TarReader(opened, count=_Count().take), wanted)
    except BadTar as error:
        raise RequirementMissing(
            f"{archive.name} is not the archive of a release (a tar file packed by gzip). Fetch it again",
            detail=repr(error),
        ) from error
    missing = sorted(name for name, path in wanted.items() if not path.exists())
    if missing:
        others = ", ".join(name for name in seen if "firecracker-v" in name)[:200]
        raise RequirementMissing(
            f"{archive.name} does not hold {missing[0]}: it is of another version or architecture"
            + (f" (it holds {others})" if others else "")
            + f". This host needs {release.archive}"
        )


class _Count:
    """Counts what comes out of an archive."""

    def __init__(self) -> None:
        self._bytes = 0

    def take(self, size: int) -> None:
        self._bytes += size
        if self._bytes > _ARCHIVE_BYTES:
            raise RequirementMissing(_TOO_MUCH)


def _take(reader: TarReader, wanted: dict[str, Path]) -> list[str]:
    seen: list[str] = []
    for entry in reader:
        name = entry.name.removeprefix("./")
        seen.append(name)
        if len(seen) > _MEMBERS:
            raise RequirementMissing(_TOO_MUCH)
        if name not in wanted or wanted[name].exists():
            continue
        if entry.kind != "file" or entry.parts is not None:
            raise RequirementMissing(
                f"{name} in the archive is not a plain file; it is not what was published"
            )
        if entry.size > _PROGRAM_BYTES:
            size = f"{name} in the archive has {entry.size} bytes"
            raise RequirementMissing(f"{size}; a release's has far less")
        _write(reader, wanted[name])
    return seen


def _write(reader: TarReader, target: Path) -> None:
    with target.open("xb") as stream:
        stream.writelines(reader.pieces())
        stream.flush()
        os.fchmod(stream.fileno(), 0o755)
        os.fsync(stream.fileno())
