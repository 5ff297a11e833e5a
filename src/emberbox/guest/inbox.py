"""What has come from a guest on one channel and was not consumed yet."""

from __future__ import annotations

from collections import deque

MAX_PIECES = 1_024
"""Pieces that keep their order across streams; beyond it they join their stream's last piece."""
JOIN_BYTES = 4_096
"""A piece shorter than this takes what follows it on its stream."""


class Inbox:
    """Pieces of streams in the order of their arrival.

    Bytes are bounded by credit, the number of pieces by joining. One byte for each frame would cost
    a hundred bytes of bookkeeping, so small neighbours of one stream become one piece; a guest that
    alternates between its streams loses their mutual order after `MAX_PIECES`, never bytes.
    """

    __slots__ = ("_last", "_pieces")

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, bytearray | bytes]] = deque()
        self._last: dict[int, bytearray] = {}

    def __len__(self) -> int:
        return len(self._pieces)

    def put(self, stream: int, data: bytes) -> None:
        """Append `data`; empty data is dropped."""
        if not data:
            return
        pieces = self._pieces
        if pieces:
            last_stream, last = pieces[-1]
            if last_stream == stream and len(last) < JOIN_BYTES:
                if isinstance(last, bytes):
                    last = bytearray(last)
                    pieces[-1] = (stream, last)
                last += data
                return
            if len(pieces) >= MAX_PIECES:
                self._overflow(stream, data)
                return
            self._last.pop(stream, None)
        pieces.append((stream, data))

    def _overflow(self, stream: int, data: bytes) -> None:
        tail = self._last.get(stream)
        if tail is None:
            tail = self._last[stream] = bytearray()
            self._pieces.append((stream, tail))
        tail += data

    def take(self) -> tuple[int, bytes]:
        """Remove and return the oldest piece: its stream and its bytes.

        Raises `IndexError` when there is none.
        """
        stream, data = self._pieces.popleft()
        if self._last.get(stream) is data:
            del self._last[stream]
        return stream, bytes(data)

    def clear(self) -> dict[int, int]:
        """Drop everything; returns the number of bytes dropped for each stream."""
        dropped: dict[int, int] = {}
        for stream, data in self._pieces:
            dropped[stream] = dropped.get(stream, 0) + len(data)
        self._pieces.clear()
        self._last.clear()
        return dropped
