"""A job's log as bytes: records one after another, in the order in which output arrived.

Each record is a header of 16 bytes (mark, stream, time in µs since the epoch, length of the data,
checksum of the header) and its data. A record is named by the attempt and by where it ends:
`2.4096`. A reader that knows that goes on from there without a search. A wrong position is
recognised by mark and checksum.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = struct.Struct(">BBQIH")
MARK = 0xEB
MAX_DATA = 65_536
STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
_ID = re.compile(r"([1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,14})")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A piece of output.

    Args:
        id: What `Last-Event-ID` takes to go on behind it.
        stream: Which stream.
        time_us: When it arrived, in µs since the epoch.
        data: At most 64 KiB; whole characters where the program wrote UTF-8.
    """

    id: str
    stream: Literal["stdout", "stderr"]
    time_us: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log: behind `offset` bytes of the log of `attempt`."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        """Return the id of the record that ends here."""
        return f"{self.attempt}.{self.offset}"


def parse_position(text: str) -> Position:
    """Return the place that an id names. Raises `InvalidInput` for what cannot be an id."""
    match = _ID.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text[:64]!r} is no id of a log entry; they look like 1.4096")
    return Position(int(match[1]), int(match[2]))


def encode(stream: Literal["stdout", "stderr"], time_us: int, data: bytes) -> bytes:
    """Return a record's bytes."""
    head = HEADER.pack(MARK, STREAMS.index(stream), time_us, len(data), 0)[:-2]
    return head + struct.pack(">H", zlib.crc32(head) & 0xFFFF) + data


class LogParser:
    """Turns the bytes of a log, in pieces of any size, into records.

    Args:
        start: Where the first byte stands.
    """

    def __init__(self, start: Position) -> None:
        self._attempt = start.attempt
        self._offset = start.offset
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[LogRecord]:
        """Yield the records that are complete.

        Raises `InvalidInput` when the start was no end of a record.
        """
        rest = self._rest + data if self._rest else data
        at = 0
        try:
            while len(rest) - at >= HEADER.size:
                mark, stream, time_us, length, check = HEADER.unpack_from(rest, at)
                expected = zlib.crc32(rest[at : at + HEADER.size - 2]) & 0xFFFF
                if mark != MARK or stream >= len(STREAMS) or length > MAX_DATA or check != expected:
                    raise InvalidInput(f"{self._attempt}.{self._offset} is the id of no entry of this log")
                end = at + HEADER.size + length
                if end > len(rest):
                    break
                self._offset += HEADER.size + length
                data = bytes(rest[at + HEADER.size : end])
                at = end
                yield LogRecord(f"{self._attempt}.{self._offset}", STREAMS[stream], time_us, data)
        finally:
            self._rest = rest[at:]
