"""The files of a sandbox: all streams, and memory holds no more than a caller asks for whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from emberbox.model import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from emberbox.guest import GuestClient
    from emberbox.model import FileEntry

MAX_READ_BYTES = 64 * MIB
"""What `read_file` returns at most unless told otherwise."""


class SandboxFiles(ABC):
    """File operations, as the guest's unprivileged user.

    Paths are relative to the work folder, `/work`, or absolute.
    """

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
        return await self.guest.write_file(path, data, mode=mode, append=append)

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
        await self.guest.make_directory(path)

    async def delete_file(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, or a folder with all in it."""
        await self.guest.delete(path, recursive=recursive)

    async def put_archive(self, data: bytes | AsyncIterable[bytes], path: str = ".") -> int:
        """Unpack a tar archive, plain or gzip, into a folder; returns the number of entries.

        Raises:
            GuestRequestFailed: `outside_folder` for an entry that would leave the folder; entries
                before it are there.
        """
        return (await self.guest.tar_in(path, data)).entries

    def get_archive(self, path: str = ".", *, patterns: Sequence[str] | None = None) -> AsyncIterator[bytes]:
        """Yield a tar archive of a folder or file in pieces.

        `patterns` are globs of what to take; None takes all.
        """
        return aiter(self.guest.tar_out(path, patterns=None if patterns is None else tuple(patterns)))
