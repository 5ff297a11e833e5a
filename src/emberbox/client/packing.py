"""What is uploaded as a script: one file as it is, or several as one archive."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Source = str | Path | bytes
"""A path of a file or a folder (text is a path, too), or a file's bytes."""

LEFT_OUT = ("__pycache__", ".git")
"""Names that are not uploaded with a folder unless the caller says otherwise."""


@contextmanager
def packed(
    source: Source | Sequence[str | Path], name: str | None, leave_out: Sequence[str]
) -> Iterator[tuple[str, Path]]:
    """Yield the name and the place of one file that holds all of `source`, and remove what was made for it.

    Args:
        source: A file, which may be an archive (.zip, .tar, .tar.gz), a folder, several of them, or
            a file's bytes.
        name: The file's name, which bytes need.
        leave_out: Globs of names in folders that are passed over.

    Raises:
        InvalidInput: There is no such file, or nothing to upload.
    """
    if isinstance(source, str | Path) and Path(source).is_file():
        yield name or Path(source).name, Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="emberbox-upload-") as folder:
        place = Path(folder) / "upload"
        yield _write(source, name, leave_out, place), place


def _write(
    source: Source | Sequence[str | Path], name: str | None, leave_out: Sequence[str], place: Path
) -> str:
    if isinstance(source, bytes):
        if not name:
            raise InvalidInput("bytes need a filename: it tells the runtime")
        place.write_bytes(source)
        return name
    if isinstance(source, str | Path):
        return _archive(
            {"": Path(source)}, leave_out, place, f"{Path(source).resolve().name or 'script'}.tar.gz"
        )
    paths = [Path(path) for path in source]
    named = {path.name: path for path in paths}
    if len(named) != len(paths):
        raise InvalidInput("two of the files have the same name; put them into a folder and upload that")
    return _archive(named, leave_out, place, name or "script.tar.gz")


def _archive(roots: dict[str, Path], leave_out: Sequence[str], place: Path, name: str) -> str:
    count = 0
    # Without names and times of its own, the same content makes the same archive.
    with (
        place.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packer,
        tarfile.open(fileobj=packer, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for prefix, root in roots.items():
            for inner, file in _files(root, leave_out):
                _add(archive, PurePosixPath(prefix, inner), file)
                count += 1
    if not count:
        raise InvalidInput(
            f"there is nothing to upload in {', '.join(str(root) for root in roots.values()) or 'nothing'}"
        )
    return name


def _files(root: Path, leave_out: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder, or the file, with paths below it.

    Links to files count as what they lead to.
    """
    if root.is_file():
        yield "", root
        return
    if not root.is_dir():
        raise InvalidInput(f"there is no file or folder {str(root)!r}")
    for entry in sorted(root.iterdir()):
        if any(fnmatch(entry.name, pattern) for pattern in leave_out):
            continue
        if entry.is_file():
            yield entry.name, entry
        elif entry.is_dir() and not entry.is_symlink():
            yield from ((f"{entry.name}/{inner}", file) for inner, file in _files(entry, leave_out))


def _add(archive: tarfile.TarFile, path: PurePosixPath, file: Path) -> None:
    try:
        with file.open("rb") as content:
            size = content.seek(0, io.SEEK_END)
            content.seek(0)
            entry = tarfile.TarInfo(str(path))
            entry.size = size
            entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            archive.addfile(entry, content)
    except OSError as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error.strerror or error}") from error
