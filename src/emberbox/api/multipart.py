"""Multipart forms with files, put onto the disk as they come.

Memory stays flat, and every part is bounded.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import HTTPException
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from emberbox.api.heads import announced_bytes
from emberbox.errors import InvalidInput, NoSpace, PayloadTooLarge
from emberbox.files.disk import is_full
from emberbox.service.uploads.intake import UploadPart
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

    from emberbox.service.accounts.reservations import Reservation

FIELD_BYTES = 64 * 1024
"""Most bytes of a part that is no file."""
FORM_BYTES = 64 * 1024
"""What a form usually has around its files at most: it is not stored, and not promised to its team ahead."""
_BATCH_BYTES = 1024 * 1024


@dataclass(slots=True)
class Form:
    """What a form held: files, whose bytes lie on the disk, and text by field name."""

    files: list[UploadPart] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


async def read_form(
    request: Request,
    folder: Path,
    *,
    files: Collection[str],
    fields: Collection[str],
    max_bytes: int,
    max_files: int,
    room: Reservation,
) -> Form:
    """Read a request's form. Cancelling leaves files in `folder`, which the caller removes.

    Args:
        request: Whose body was not read yet.
        folder: Exists; files are put there under numbers.
        files: Names of the fields that are files; each may come many times.
        fields: Names of the fields that are text; each may come once.
        max_bytes: Of all files together.
        max_files: Most files.
        room: Bytes are promised by it before they are written: what is announced of the body at once,
            what is not as it comes.

    Raises:
        HTTPException: 415, the body is something else.
        InvalidInput: The form is broken, or has a field that it should not have.
        PayloadTooLarge: More than `max_bytes` or `max_files`, or a text field that is too long.
        QuotaExceeded: The share of storage is used up.
        NoSpace: The disk is full.
    """
    reader = _Reader(folder, files, fields, max_bytes, max_files, room)
    boundary = _boundary(request)
    reader.expect(announced_bytes(request.scope) or 0)
    try:
        with closing(MultipartParser(boundary, reader.callbacks())) as parser:
            async for piece in request.stream():
                parser.write(piece)
                if reader.waiting >= _BATCH_BYTES:
                    await reader.write()
    except FormParserError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from error
    await reader.write()
    if not reader.complete:
        raise InvalidInput("the form ends before its closing boundary; it was cut off")
    return reader.form


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise HTTPException(415, "send the files as multipart/form-data, each in a field 'file'")
    return boundary


class _Reader:
    """What the parser calls.

    Bytes wait in memory until there are enough to be worth a trip to another thread.
    """

    def __init__(
        self,
        folder: Path,
        files: Collection[str],
        fields: Collection[str],
        max_bytes: int,
        max_files: int,
        room: Reservation,
    ) -> None:
        self.form = Form()
        self.complete = False
        self.waiting = 0
        self._folder = folder
        self._file_names = files
        self._field_names = fields
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._room = room
        self._promised = 0
        self._bytes = 0
        self._batch: list[tuple[Path, list[bytes]]] = []
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._field: tuple[str, bytearray] | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._disposition = b""
        self._field = None

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = _text(options.get(b"name", b""))
        if name in self._file_names:
            self._open_file(name, options.get(b"filename"))
        elif name in self._field_names:
            if name in self.form.fields:
                raise InvalidInput(f"{name}: there is more than one")
            self._field = (name, bytearray())
        else:
            known = ", ".join(sorted({*self._file_names, *self._field_names}))
            raise InvalidInput(
                f"the form has a field {name[:100]!r}, which means nothing here; known are {known}"
            )

    def _open_file(self, name: str, filename: bytes | None) -> None:
        if not filename:
            raise InvalidInput(f"{name}: must be a file with a name")
        if len(self.form.files) >= self._max_files:
            raise PayloadTooLarge(
                f"the upload has more than {self._max_files} files, which is the most taken"
            )
        path = self._folder / str(len(self.form.files))
        self.form.files.append(UploadPart(_text(filename), path))
        self._batch.append((path, []))

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None:
            name, value = self._field
            value += data[start:end]
            if len(value) > FIELD_BYTES:
                raise PayloadTooLarge(f"{name}: longer than {FIELD_BYTES} bytes")
            return
        self._bytes += end - start
        if self._bytes > self._max_bytes:
            raise PayloadTooLarge(
                f"the upload has more than {self._max_bytes} bytes, which is the most taken"
            )
        self._batch[-1][1].append(data[start:end])
        self.waiting += end - start

    def _end(self) -> None:
        if self._field is not None:
            name, value = self._field
            try:
                self.form.fields[name] = value.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidInput(f"{name}: must be text in UTF-8") from None

    def _finish(self) -> None:
        self.complete = True

    def expect(self, announced: int) -> None:
        """Have the room for a whole body promised. Raises `QuotaExceeded` or `NoSpace`."""
        self._promise(announced, max(0, announced - FORM_BYTES))

    def _promise(self, on_disk: int, kept: int) -> None:
        self._room.keep(kept)
        self._room.write(max(0, on_disk - self._promised))
        self._promised = max(on_disk, self._promised)

    async def write(self) -> None:
        """Put what waits onto the disk. The file that is being received stays open for more.

        Raises `QuotaExceeded` or `NoSpace`: nothing more was written.
        """
        self._promise(self._bytes, self._bytes)
        batch, self.waiting = self._batch, 0
        self._batch = [(batch[-1][0], [])] if batch else []
        if batch:
            await shielded(asyncio.to_thread(_append, batch))


def _append(batch: list[tuple[Path, list[bytes]]]) -> None:
    try:
        for path, pieces in batch:
            with path.open("ab") as stream:
                stream.writelines(pieces)
    except OSError as error:
        if is_full(error):
            raise NoSpace(
                "the service's disk is full; try again later, or free some space", detail=str(error)
            ) from error
        raise


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
