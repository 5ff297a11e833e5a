"""Uploads that take long to open, hash and store: teams take turns at them, and nobody else waits for them.

They take the loop's threads, the blob store's threads, processors and the disk, all of which others need
for what is done in a moment. A small upload takes no turn.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from emberbox.service.uploads.archives import begins_like_archive
from emberbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from emberbox.service.uploads.intake import UploadPart

SMALL_BYTES = 256 * 1024
"""Less than this is stored in a moment, if it is no archive."""
_SMALL_FILES = 100
# Each takes one of the loop's threads and one of the blob store's at a time: most of both stay free.
_MOST = 4


class HeavyTurns:
    """The turns of one service: places for half of its processors, half of them for each team."""

    def __init__(self) -> None:
        places = max(2, min(_MOST, len(os.sched_getaffinity(0)) // 2))
        self._turns = Turns(places, each=places // 2)

    def for_bytes(self, team_id: str, size: int) -> AbstractAsyncContextManager[None]:
        """Hold a place of a team's while so many bytes are stored; none where they are few."""
        return nullcontext() if size < SMALL_BYTES else self._turns.place(team_id)

    @asynccontextmanager
    async def for_upload(self, team_id: str, parts: Sequence[UploadPart]) -> AsyncIterator[None]:
        """Hold a place of a team's while an upload is opened and stored; none where that takes a moment.

        Args:
            team_id: Whose upload it is.
            parts: Its files, whose bytes are on the disk.
        """
        size = await asyncio.to_thread(_weight, parts)
        async with self.for_bytes(team_id, size):
            yield


def _weight(parts: Sequence[UploadPart]) -> int:
    """Return how many bytes an upload counts as. Archives and many files weigh more than they have."""
    archive = len(parts) == 1 and begins_like_archive(parts[0].path)
    least = SMALL_BYTES if archive or len(parts) >= _SMALL_FILES else 0
    return max(least, sum(part.path.stat().st_size for part in parts))
