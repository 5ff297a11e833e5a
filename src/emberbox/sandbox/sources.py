"""What was put into a sandbox, as a digest.

Two fresh sandboxes of one image with the same digest hold the same files.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from emberbox.sandbox.files import SandboxFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator


class SourceLog:
    """A running digest over the changes that the host made to a sandbox's files, in their order.

    Args:
        kept: False notes nothing, for sandboxes in which nobody will ask.
    """

    def __init__(self, *, kept: bool) -> None:
        self._digest = hashlib.sha256()
        self._known = kept

    @property
    def known(self) -> bool:
        """Whether the digest still tells what lies in the sandbox."""
        return self._known

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

    def note_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file whose content is at hand."""
        if self._known:
            self.note("file", path, mode, False, hashlib.sha256(data).hexdigest())

    def passing(self, data: AsyncIterable[bytes], *parts: object) -> AsyncIterable[bytes]:
        """Return `data` as it is; once all of it went by, the change with its digest is noted."""
        return self._passing(data, *parts) if self._known else data

    async def _passing(self, data: AsyncIterable[bytes], *parts: object) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        async for piece in data:
            digest.update(piece)
            yield piece
        self.note(*parts, digest.hexdigest())


class TrackedFiles(SandboxFiles):
    """File operations of a sandbox that note what they change in `sources`."""

    sources: SourceLog

    async def write_file(
        self, path: str, data: bytes | AsyncIterable[bytes], *, mode: int = 0o644, append: bool = False
    ) -> int:
        """Write a file, making its folders; returns its size in bytes.

        Raises:
            GuestRequestFailed: `denied`, `no_space`, `is_a_directory`, …; a part may have been written.
        """
        content = self._noted(data, "file", path, mode, append)
        try:
            return await super().write_file(path, content, mode=mode, append=append)
        except BaseException:
            self.sources.lose()
            raise

    async def put_archive(self, data: bytes | AsyncIterable[bytes], path: str = ".") -> int:
        """Unpack a tar archive, plain or gzip, into a folder; returns the number of entries.

        Raises:
            GuestRequestFailed: `outside_folder` for an entry that would leave the folder; entries
                before it are there.
        """
        content = self._noted(data, "archive", path)
        try:
            return await super().put_archive(content, path)
        except BaseException:
            self.sources.lose()
            raise

    async def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        self.sources.note("folder", path)
        await super().make_folder(path)

    async def delete_file(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, or a folder with all in it."""
        self.sources.note("deleted", path, recursive)
        await super().delete_file(path, recursive=recursive)

    def _noted(self, data: bytes | AsyncIterable[bytes], *parts: object) -> bytes | AsyncIterable[bytes]:
        if not isinstance(data, bytes):
            return self.sources.passing(data, *parts)
        if self.sources.known:
            self.sources.note(*parts, hashlib.sha256(data).hexdigest())
        return data
