"""The log of a job that runs: written once, read by any number while it grows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Literal

from emberbox.errors import InvalidInput, NoSpace
from emberbox.service.jobs.logs.format import MAX_DATA, LogParser, LogRecord, Position, encode
from emberbox.store.database import now_us

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Stream = Literal["stdout", "stderr"]

SMALL = 65_536
"""A log up to this size, in bytes, stays in memory and then lies in the database."""
HEAD = 65_536
"""Bytes of each stream's beginning that are kept for the result."""
GATHER_S = 0.004
"""Pieces that follow each other faster than this become one record, so that a program that writes
single bytes costs little."""
READ = 262_144


class LogWriter:
    """Takes a program's output and offers it to readers at once.

    Args:
        attempt: The job's attempt.
        path: Where the log goes when it grows beyond what memory should hold.
    """

    def __init__(self, attempt: int, path: Path) -> None:
        self.attempt = attempt
        self.size = 0
        self.closed = False
        self.heads: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.written: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        self.path = path
        self.progress: str | None = None
        """What is made ready ahead of the program, such as a template; None when nothing is."""
        self._begun = False
        self._file: int | None = None
        self._memory = bytearray()
        self._partial: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._pending: bytearray = bytearray()
        self._pending_stream: Stream = "stdout"
        self._timer: asyncio.TimerHandle | None = None
        self._flushed = float("-inf")
        self._news = asyncio.Event()
        self._failure: NoSpace | None = None
        self._readers = 0
        self._discarded = False

    # -- ahead of the output ----------------------------------------------------------------------

    def tell_progress(self, text: str) -> None:
        """Tell readers what is made ready ahead of the program."""
        self.progress = text
        self._tell()

    def begin(self) -> None:
        """Tell readers that the program begins, or that none will. Repeating is harmless."""
        self.progress, self._begun = None, True
        self._tell()

    async def ahead(self) -> AsyncIterator[str]:
        """Yield what is made ready, whenever that changes, until the program begins."""
        told = None
        while not (self._begun or self.size or self.closed):
            if self.progress not in (None, told):
                told = self.progress
                yield told
                continue
            await self._news.wait()

    # -- writing ----------------------------------------------------------------------------------

    def append(self, stream: Stream, data: bytes) -> None:
        """Add output. Raises `NoSpace` when the disk is full: what was added before stays readable."""
        self.check()
        self.written[stream] += len(data)
        head = self.heads[stream]
        if len(head) < HEAD:
            head += data[: HEAD - len(head)]
        if self._pending and self._pending_stream != stream:
            self._flush()
        self._pending_stream = stream
        self._pending += data
        if len(self._pending) >= MAX_DATA or time.monotonic() - self._flushed >= GATHER_S:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._flush_late)

    def _flush_late(self) -> None:
        with contextlib.suppress(NoSpace):
            self._flush()

    def _flush(self, *, last: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        stream = self._pending_stream
        data = self._partial[stream] + bytes(self._pending)
        self._pending.clear()
        whole = len(data) if last else _whole_characters(data)
        self._partial[stream] = data[whole:]
        for start in range(0, whole, MAX_DATA):
            self._store(encode(stream, now_us(), data[start : min(start + MAX_DATA, whole)]))
        self._flushed = time.monotonic()
        self._tell()

    def _store(self, record: bytes) -> None:
        try:
            if self._file is None and len(self._memory) + len(record) > SMALL:
                self._file = self._moved_to_disk()
                self._memory = bytearray()
            if self._file is None:
                self._memory += record
            else:
                _write(self._file, record, self.size)
        except OSError as error:
            self._failure = NoSpace("the disk is full: the job's log cannot be written", detail=str(error))
            raise self._failure from error
        self.size += len(record)

    def _moved_to_disk(self) -> int:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, bytes(self._memory), 0)
        except OSError:
            os.close(file)
            self.path.unlink(missing_ok=True)
            raise
        return file

    def finish(self) -> None:
        """Write what is held back and end the log; readers that have read all of it end.

        Repeating is harmless.
        """
        if self.closed:
            return
        with contextlib.suppress(NoSpace):
            self._flush(last=True)
            for stream, partial in self._partial.items():
                self._pending_stream = stream
                if partial:
                    self._flush(last=True)
        self.closed = True
        self.begin()

    @property
    def data(self) -> bytes | None:
        """The whole log as long as it is small; None once it lies in the file `path`."""
        return bytes(self._memory) if self._file is None else None

    def check(self) -> None:
        """Raise `NoSpace` when not all of the output could be written."""
        if self._failure is not None:
            raise self._failure

    def discard(self) -> None:
        """End the log and remove what it left on disk. Repeating is harmless."""
        self.finish()
        if self._file is not None and not self._discarded:
            self.path.unlink(missing_ok=True)
        self._discarded = True
        self._close_unread()

    def _close_unread(self) -> None:
        """Close the file once nobody reads it any more."""
        if self._discarded and not self._readers and self._file is not None:
            os.close(self._file)
            self._file = None

    # -- reading ----------------------------------------------------------------------------------

    async def read_from(self, offset: int, *, follow: bool) -> AsyncIterator[LogRecord]:
        """Yield the records behind `offset`; with `follow`, go on until the log has ended.

        A log that was discarded before the first was asked for yields nothing any more.

        Raises:
            InvalidInput: No record ends at `offset`.
        """
        if offset > self.size:
            raise InvalidInput(f"{self.attempt}.{offset} lies behind the end of this log")
        parser = LogParser(Position(self.attempt, offset))
        self._readers += 1
        try:
            while True:
                data = self._read(offset)
                offset += len(data)
                for record in parser.feed(data):
                    yield record
                if data and offset < self.size:
                    continue
                if self.closed or not follow:
                    return
                await self._news.wait()
        finally:
            self._readers -= 1
            self._close_unread()

    def _read(self, offset: int) -> bytes:
        if self._file is None:
            return bytes(self._memory[offset : offset + READ])
        # Behind the size lies half a record, where the disk was full.
        return os.pread(self._file, min(READ, self.size - offset), offset)

    def _tell(self) -> None:
        """Wake those who wait now; who comes later waits for what comes later."""
        self._news.set()
        self._news = asyncio.Event()


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def _whole_characters(data: bytes) -> int:
    """Return the length of `data` without the beginning of a UTF-8 character at its end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if wanted > back else len(data)
    return len(data)
