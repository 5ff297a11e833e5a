"""Parts of a stream of bytes: from an offset on, or its last lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def part_of(pieces: AsyncIterator[bytes], offset: int, limit: int | None) -> AsyncIterator[bytes]:
    """Yield the bytes from `offset` on, `limit` of them at most; None for all."""
    left = limit
    async for piece in pieces:
        data = piece[offset:]
        offset = max(offset - len(piece), 0)
        if left is not None:
            data = data[:left]
            left -= len(data)
        if data:
            yield data
        if left == 0:
            return


async def tail(pieces: AsyncIterator[bytes], lines: int) -> AsyncIterator[bytes]:
    """Yield the last `lines` lines, holding no more than they need."""
    held: deque[bytes] = deque()
    newlines = 0
    async for piece in pieces:
        held.append(piece)
        newlines += piece.count(b"\n")
        while held and newlines - held[0].count(b"\n") > lines:
            newlines -= held.popleft().count(b"\n")
    data = b"".join(held)
    ends = data.endswith(b"\n")
    parts = data.split(b"\n")
    count = lines + 1 if ends else lines
    yield b"\n".join(parts[-count:] if lines else [])
