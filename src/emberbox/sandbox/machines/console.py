"""A guest's console as it comes, line by line, for whoever wants to see it while the machine runs."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from emberbox.tasks import TaskKeeper
from emberbox.vmm.boots.guest_text import WIDTH, escaped

if TYPE_CHECKING:
    from pathlib import Path

ConsoleReader = Callable[[str], None]
"""Called with each line, escaped and without its end. It must not block, and what it raises ends
the following."""

_LOOK_S = 0.05
_PIECE = 65_536


class ConsoleFollower:
    """Hands each line of a machine's console log to `take`, from the first one on, until `close`.

    The log is bounded, so what is read is; lines without an end are cut.

    Args:
        path: The console log; may not be there yet.
        take: Gets the lines.
    """

    def __init__(self, path: Path, take: ConsoleReader) -> None:
        self._path = path
        self._take = take
        self._offset = 0
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keeper = TaskKeeper()
        self._task = self._keeper.start(self._follow(), "console-follower")

    async def close(self) -> None:
        """Hand over what is still there, and stop. To be called once the machine has ended.

        Repeating is harmless.
        """
        if not self._task.done():
            await self._keeper.cancel()
            self._look()
            if self._rest:
                self._take(self._rest)
                self._rest = ""

    async def _follow(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        # In the loop, since it is a look at a file in memory and at most a piece of it.
        while piece := self._read():
            self._offset += len(piece)
            text = self._rest + escaped(self._decoder.decode(piece).replace("\r", ""))
            *lines, self._rest = text.split("\n")
            if len(self._rest) > WIDTH:
                lines, self._rest = [*lines, self._rest], ""
            for line in lines:
                self._take(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return os.pread(file.fileno(), _PIECE, self._offset)
        except OSError:
            return b""
