"""What was put into a sandbox, as a digest.

Two fresh sandboxes of one image with the same digest hold the same files.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

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
