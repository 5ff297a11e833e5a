"""The files of a sandbox: all streams, and memory holds no more than a caller asks for whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput
from emberbox.guest import GuestClient, InlineFile
from emberbox.model import MIB, FileEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence


MAX_READ_BYTES = 64 * MIB
"""What `read_file` returns at most unless told otherwise."""
INLINE_BYTES = 65_536
"""Files up to this size travel inside the request that runs them; larger ones are streamed ahead of it."""


class SourceLog:
    """A running digest over the changes that the host made to a sandbox's files, in their order.

    Two fresh sandboxes of one image with the same digest hold the same files.

    Args:
        kept: False notes nothing, for sandboxes in which nobody will ask.
    """

    def __init__(self, *, kept: bool) -> None:
        self._digest = hashlib.sha256()
        self._known = kept

    def note(self, *parts: object) -> None:
        """Add one change; the text of `parts` describes it whole."""
        for part in (str(len(parts)), *map(str, parts)):
            raw = part.encode("utf-8", "surrogatepass")
            self._digest.update(len(raw).to_bytes(8, "big") + raw)

    def lose(self) -> None:
        """Give up: from now on a program may have changed anything, or a change was not noted."""
        self._known = False

    def digest(self) -> str | None:
        """Return the digest as hex; None when it was lost."""
        return self._digest.hexdigest() if self._known else None

    def content(self, data: bytes | AsyncIterable[bytes], *parts: object) -> bytes | AsyncIterable[bytes]:
        """Add a change with the digest of its content: now, or once all of `data` went by.

        Returns `data`, to be passed on.
        """
        if not self._known:
            return data
        if not isinstance(data, bytes):
            return self._passing(data, *parts)
        self.note(*parts, hashlib.sha256(data).hexdigest())
        return data

    async def _passing(self, data: AsyncIterable[bytes], *parts: object) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        async for piece in data:
            digest.update(piece)
            yield piece
        self.note(*parts, digest.hexdigest())


class SandboxFiles(ABC):
    """File operations, as the guest's unprivileged user. What they change is noted in `sources`.

    Paths are relative to the work folder, `/work`, or absolute.
    """

    sources: SourceLog

    @property
    @abstractmethod
    def guest(self) -> GuestClient:
        """The agent's client."""

    async def write_file(
        self, path: str, data: bytes | AsyncIterable[bytes], *, mode: int = 0o644, append: bool = False
    ) -> int:
        """Write a file, making its folders; returns its size in bytes.

        Raises:
            GuestRequestFailed: `denied`, `no_space`, `is_a_directory`, …; a part may have been written.
        """
        with self._lost_if_failed():
            content = self.sources.content(data, "file", path, mode, append)
            return await self.guest.write_file(path, content, mode=mode, append=append)

    async def read_file(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Return a file's content.

        Raises `GuestRequestFailed` (`too_large`) for one above `max_bytes`; see `stream_file`.
        """
        return await self.guest.read_bytes(path, max_bytes)

    def stream_file(self, path: str, *, offset: int = 0, limit: int | None = None) -> AsyncIterator[bytes]:
        """Yield a file's content in pieces of at most 64 KiB, of any size."""
        return self.guest.read_file(path, offset=offset, limit=limit)

    async def list_files(
        self, path: str = ".", *, recursive: bool = False, max_entries: int = 10_000
    ) -> list[FileEntry]:
        """Return a folder's entries, names relative to it, at most `max_entries`."""
        return await self.guest.list_dir(path, recursive=recursive, max_entries=max_entries)

    async def stat_file(self, path: str) -> FileEntry:
        """Return what a path names, links followed unless they lead nowhere.

        Raises `GuestRequestFailed` (`not_found`).
        """
        return await self.guest.stat(path)

    async def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        self.sources.note("folder", path)
        await self.guest.make_directory(path)

    async def delete_file(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, or a folder with all in it."""
        self.sources.note("deleted", path, recursive)
        await self.guest.delete(path, recursive=recursive)

    async def put_archive(self, data: bytes | AsyncIterable[bytes], path: str = ".") -> int:
        """Unpack a tar archive, plain or gzip, into a folder; returns the number of entries.

        Raises:
            GuestRequestFailed: `outside_folder` for an entry that would leave the folder; entries
                before it are there.
        """
        with self._lost_if_failed():
            content = self.sources.content(data, "archive", path)
            return (await self.guest.tar_in(path, content)).entries

    def get_archive(self, path: str = ".", *, patterns: Sequence[str] | None = None) -> AsyncIterator[bytes]:
        """Yield a tar archive of a folder or file in pieces.

        `patterns` are globs of what to take; None takes all. What has more than 1 GiB or 100,000 entries
        ends in `GuestRequestFailed` (`too_large`).
        """
        return self.guest.tar_out(path, patterns=patterns)

    @contextlib.contextmanager
    def _lost_if_failed(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.sources.lose()
            raise


async def stage_files(
    sandbox: SandboxFiles, files: Mapping[str, str | bytes | Path]
) -> tuple[InlineFile, ...]:
    """Write the large files of a run, and return the small ones for its request.

    Args:
        sandbox: Where they go.
        files: Path in the work folder → content, or a path on the host.

    Raises:
        InvalidInput: A path cannot name a file in the work folder, or the host's file cannot be read.
    """
    small = []
    for path, content in files.items():
        check_inside(path)
        data = await asyncio.to_thread(_read_host_file, content) if isinstance(content, Path) else content
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        if len(data) > INLINE_BYTES:
            await sandbox.write_file(path, data)
        else:
            small.append(InlineFile(path, data))
            sandbox.sources.content(data, "file", path, small[-1].mode, False)
    return tuple(small)


def check_inside(path: str) -> None:
    """Raise `InvalidInput` for a path that a staged file cannot have."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or ".." in pure.parts:
        raise InvalidInput(
            f"{path!r} cannot name a file in the work folder: it must not be empty, hold NUL or '..'"
        )


def _read_host_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
