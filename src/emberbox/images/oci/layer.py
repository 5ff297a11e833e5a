"""Unpacks a layer to a plain tar, bounded and checked against both digests, before it is read."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import subprocess
import zlib
from typing import IO, TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.images.objects import file_digest
from emberbox.images.oci import bounds
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from emberbox.images.oci.manifest import Blob

_CHUNK = 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_END_S = 10.0


class Budget:
    """What may still be unpacked of an image, in bytes and entries."""

    def __init__(self, size: int = bounds.UNPACKED_BYTES, entries: int = bounds.ENTRIES) -> None:
        self._size = self._all_bytes = size
        self._entries = self._all_entries = entries

    def take_bytes(self, size: int) -> None:
        """Count bytes; raises `ImageImportFailed` when they are too many."""
        self._size -= size
        if self._size < 0:
            raise ImageImportFailed(
                f"the image is larger than {self._all_bytes // 1024**2} MiB unpacked; it is not imported"
            )

    def take_entry(self) -> None:
        """Count an entry; raises `ImageImportFailed` when there are too many."""
        self._entries -= 1
        if self._entries < 0:
            raise ImageImportFailed(
                f"the image holds more than {self._all_entries} files; it is not imported"
            )


def unpack_layer(
    blob: Blob, source: Path, target: Path, digest: str, budget: Budget, stop: threading.Event
) -> None:
    """Write a layer as a plain tar.

    Args:
        blob: What the manifest says of it.
        source: The layer as it was copied.
        target: Must not exist.
        digest: What the configuration says of the unpacked layer.
        budget: Bounds over all layers.
        stop: Ends the work early when it is set.

    Raises:
        ImageImportFailed: It is not what its digests say, cannot be unpacked, or goes beyond a bound.
    """
    what = f"the layer {blob.digest[:19]}"
    _check_copied(blob, source, what)
    unpacked = hashlib.sha256()
    try:
        with _opened(source) as stream, target.open("xb") as output:
            while chunk := stream.read(_CHUNK):
                if stop.is_set():
                    raise ImageBuildFailed("the import was cancelled")
                budget.take_bytes(len(chunk))
                unpacked.update(chunk)
                output.write(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ImageImportFailed(f"{what} is corrupt: it cannot be unpacked", detail=str(error)) from error
    if f"sha256:{unpacked.hexdigest()}" != digest:
        raise ImageImportFailed(
            f"{what} is corrupt: unpacked, it is not what the image's configuration says", detail=digest
        )


def _check_copied(blob: Blob, source: Path, what: str) -> None:
    digest = file_digest(source)
    if f"sha256:{digest}" != blob.digest:
        raise ImageImportFailed(f"{what} is corrupt: its content is not what its digest says", detail=digest)


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """Open a layer by what it is, since its media type is only what somebody wrote down."""
    with source.open("rb") as stream:
        magic = stream.read(4)
    if magic == _ZSTD:
        with _zstd(source) as unpacked:
            yield unpacked
    elif magic.startswith(_GZIP):
        with gzip.open(source) as unpacked:
            yield unpacked  # type: ignore[misc]
    else:
        with source.open("rb") as plain:
            yield plain


@contextlib.contextmanager
def _zstd(source: Path) -> Iterator[IO[bytes]]:
    argv = [find_program("zstd"), "-dcq", "--memory=128MB", "--", str(source)]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101  asked for above
            yield process.stdout
            if process.wait(_END_S) != 0:
                raise EOFError("zstd cannot read it")
        finally:
            process.kill()
