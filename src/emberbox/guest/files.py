"""File operations of a guest: reading, writing, listing, whole trees."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.errors import GuestRequestFailed, GuestViolation
from emberbox.guest.answers import (
    TarSummary,
    read_entry,
    read_listing,
    read_nothing,
    read_size,
    read_tar_in,
    read_tar_out,
)
from emberbox.guest.deadline import Progress
from emberbox.guest.fields import Fields
from emberbox.guest.frames import decode_object
from emberbox.guest.requests import path_fields

if TYPE_CHECKING:
    from emberbox.guest.channel import Channel
    from emberbox.guest.session import Session
    from emberbox.model import FileEntry

T = TypeVar("T")
Path = str | os.PathLike[str]
Content = bytes | AsyncIterable[bytes]

STALL_S = 60.0
"""How long a transfer may stand still before the agent counts as hung; see `Progress`."""
REQUEST_S = 60.0
"""How long a single file operation may take."""
MAX_LINE = 65_536
"""Bytes of one line of a listing."""
TAR_ENTRY_BYTES = 16_384
"""What a tar may add to each entry's content: headers, long names, padding."""
_DOWNLOAD = (1,)


class FileOperations:
    """The file half of `GuestClient`. Paths are relative to /work, or absolute.

    All act as the guest's unprivileged user, but for reading and writing where `user` is `root`. Each raises
    `GuestRequestFailed` with the protocol's reason (`not_found`, `denied`, …), `GuestTimeout` when
    the agent stalls, other `GuestError` when the session has ended, and `InvalidPath` for what can
    be no path. Cancelling abandons the operation; what was written so far may stay.
    """

    _session: Session

    async def read_file(
        self, path: Path, *, offset: int = 0, limit: int | None = None, user: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes from `offset`, at most `limit` (None: to its end)."""
        request = _request("read_file", path, user=user, offset=offset, limit=limit)
        async with aclosing(
            _download(self._session.open(request, read_size, streams=_DOWNLOAD), limit)
        ) as pieces:
            async for data in pieces:
                yield data

    async def read_bytes(self, path: Path, max_bytes: int, *, user: str | None = None) -> bytes:
        """Return a file's bytes; raises `GuestRequestFailed` (`too_large`) for more than `max_bytes`."""
        data = bytearray()
        async with aclosing(self.read_file(path, limit=max_bytes + 1, user=user)) as pieces:
            async for piece in pieces:
                data += piece
        if len(data) > max_bytes:
            raise GuestRequestFailed(
                "too_large", f"the file has more than the {max_bytes} bytes that were asked for at most"
            )
        return bytes(data)

    async def write_file(
        self, path: Path, data: Content, *, mode: int = 0o644, append: bool = False, user: str | None = None
    ) -> int:
        """Write a file, making its folders; returns its size afterwards as the guest tells it.

        Args:
            path: Where to.
            data: All of it, or pieces of any size.
            mode: Permission bits of a new file.
            append: True adds to a file that exists.
            user: None or `root`.
        """
        request = _request("write_file", path, user=user, mode=mode, append=append, parents=True)
        return await _upload(self._session.open(request, read_size), data)

    async def list_dir(
        self, path: Path = ".", *, recursive: bool = False, max_entries: int = 10_000
    ) -> list[FileEntry]:
        """Return a folder's entries.

        Raises `GuestRequestFailed` (`too_large`) for more than `max_entries`.
        """
        request = _request("list", path, recursive=recursive, max_entries=max_entries)
        channel = self._session.open(request, read_listing, streams=_DOWNLOAD)
        entries: list[FileEntry] = []
        async with aclosing(_download(channel, None)) as pieces:
            async for line in _lines(pieces):
                if len(entries) >= max_entries:
                    raise channel.broken(f"more than the {max_entries} entries that were asked for at most")
                try:
                    fields = Fields(decode_object(line), "entry of list")
                    entries.append(read_entry(fields, fields.file_name()))
                except GuestViolation as error:
                    raise channel.broken("a listing with a line that is no entry") from error
        count, truncated = await channel.answer(REQUEST_S)
        if truncated:
            raise GuestRequestFailed(
                "too_large", f"the folder has more than {max_entries} entries; ask for more at most"
            )
        if count != len(entries):
            raise channel.broken(f"{count} entries announced, {len(entries)} sent")
        return entries

    async def stat(self, path: Path) -> FileEntry:
        """Return what is at `path`, named by the path's last part."""
        name = os.path.basename(os.fspath(path).rstrip("/")) or "/"  # noqa: PTH119 - a guest's path, not the host's
        return await self._ask(_request("stat", path), lambda fields: read_entry(fields, name))

    async def make_directory(self, path: Path) -> None:
        """Make a folder and those above it."""
        await self._ask(_request("make_directory", path, parents=True, mode=0o755), read_nothing)

    async def delete(self, path: Path, *, recursive: bool = False, missing_ok: bool = False) -> None:
        """Remove a file, or with `recursive` a whole folder."""
        await self._ask(_request("delete", path, recursive=recursive, missing_ok=missing_ok), read_nothing)

    async def tar_in(
        self, path: Path, data: Content, *, max_bytes: int = 2**30, max_entries: int = 100_000
    ) -> TarSummary:
        """Unpack a tar, plain or gzip, into the folder `path`, which is made if missing.

        Args:
            path: The folder.
            data: The tar, all of it or pieces of any size.
            max_bytes: Bytes that it may unpack to.
            max_entries: Entries that it may hold.
        """
        request = _request("tar_in", path, max_bytes=max_bytes, max_entries=max_entries)
        return await _upload(self._session.open(request, read_tar_in), data)

    async def tar_out(
        self,
        path: Path,
        *,
        patterns: Sequence[str] | None = None,
        max_bytes: int = 2**30,
        max_entries: int = 100_000,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the tar of a folder or file.

        Raises `GuestRequestFailed` (`too_large`) behind what there is of it where a bound cut it short.

        Args:
            path: The folder or file.
            patterns: Globs of what to take; None takes all.
            max_bytes: Content bytes at most.
            max_entries: Entries at most.
        """
        request = _request("tar_out", path, patterns=patterns, max_bytes=max_bytes, max_entries=max_entries)
        channel = self._session.open(request, read_tar_out, streams=_DOWNLOAD)
        most = max_bytes + (max_entries + 4) * TAR_ENTRY_BYTES
        async with aclosing(_download(channel, most)) as pieces:
            async for data in pieces:
                yield data
        if (await channel.answer(REQUEST_S)).truncated:
            raise GuestRequestFailed(
                "too_large", f"the files have more than {max_bytes} bytes, or are more than {max_entries}"
            )

    async def _ask(
        self, request: dict[str, Any], parse: Callable[[Fields], T], timeout_s: float | None = None
    ) -> T:
        return await self._session.open(request, parse).answer(REQUEST_S if timeout_s is None else timeout_s)


def _request(operation: str, path: Path, *, user: str | None = None, **fields: Any) -> dict[str, Any]:
    request = {"op": operation, **path_fields(path), **fields}
    return request if user is None else request | {"user": user}


async def _download(channel: Channel[T], most: int | None) -> AsyncGenerator[bytes, None]:
    """Yield stream 1, then raise the request's error if it has one.

    `most`: bytes beyond which the agent is lying.
    """
    size = 0
    try:
        async for _, data in channel.pieces(STALL_S):
            size += len(data)
            if most is not None and size > most:
                raise channel.broken(
                    f"{channel.operation} sent more than the {most} bytes that were asked for at most"
                )
            yield data
        await channel.answer(REQUEST_S)
    finally:
        channel.abandon()


async def _upload(channel: Channel[T], data: Content) -> T:
    progress = Progress(STALL_S)
    try:
        if isinstance(data, bytes):
            await channel.send_data(data, progress)
        else:
            async for piece in data:
                if channel.done:
                    break
                await channel.send_data(piece, progress)
        channel.sending.end()
        return await channel.answer(STALL_S)
    finally:
        channel.abandon()


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE:
            break
    if rest:
        yield rest
