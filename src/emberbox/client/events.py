"""Server-Sent Events, as the WHATWG's HTML standard (9.2.6) defines their text."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from emberbox.errors import PayloadTooLarge

LONGEST_EVENT = 16 * 1024 * 1024
"""Characters of one event and of one line; a server of ours stays far below."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Args:
        data: Its lines, joined.
        kind: Its name; `message` where it has none.
        id: What to send as Last-Event-ID after it; None before the first id.
    """

    data: str
    kind: str = "message"
    id: str | None = None


class EventParser:
    """Makes events of pieces of bytes, however they are cut.

    A last event that is not ended by an empty line is none.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._begun = False
        self._after_cr = False
        self._data: list[str] = []
        self._size = 0
        self._kind = ""
        self.last_id: str | None = None

    def feed(self, piece: bytes) -> list[Event]:
        """Take a piece and return the events that it completes.

        Raises `PayloadTooLarge` for an event without end.
        """
        text = self._decoder.decode(piece)
        if not text:
            return []
        if not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        found = [event for line in self._lines(text) if (event := self._take(line)) is not None]
        if len(self._rest) + self._size > LONGEST_EVENT:
            raise PayloadTooLarge("the server sent an event without end")
        return found

    def _lines(self, text: str) -> list[str]:
        if self._after_cr and text:
            # The second half of a line's end whose first half came with the piece before.
            text = text.removeprefix("\n")
            self._after_cr = False
        if not text:
            return []
        self._after_cr = text.endswith("\r")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        lines[0] = self._rest + lines[0]
        self._rest = lines.pop()
        return lines

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self.last_id = value or None
        return None

    def _dispatch(self) -> Event | None:
        data, kind = self._data, self._kind
        self._data, self._kind, self._size = [], "", 0
        return Event("\n".join(data), kind or "message", self.last_id) if data else None
