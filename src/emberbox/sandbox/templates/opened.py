"""The templates that are open for cloning, within a bound of memory.

An open template holds the memory of its guest, which its clones share. One that nobody uses is
closed when another needs the room, the one that was unused for longest first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from emberbox.errors import CapacityExhausted
from emberbox.model import MIB
from emberbox.sandbox.templates.stored import SHARE
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from emberbox.files.locks import Lock
    from emberbox.images import Progress
    from emberbox.sandbox.templates.template import Template

_log = logging.getLogger(__name__)

LOOK_S = 0.2
"""Pause between two looks at whether a template in use has become free."""


class Stock(Protocol):
    """What is kept ready of templates."""

    def uses(self, key: str) -> bool:
        """Tell whether somebody counts on what is kept ready of a template."""

    async def drop(self, key: str) -> None:
        """Keep nothing ready of a template any more."""


@dataclass(slots=True)
class _Entry:
    """A template that is open, or being opened."""

    scope: str | None
    size: int
    template: Template | None = None
    lease: Lock | None = None
    used_at: float = field(default_factory=time.monotonic)


class OpenTemplates:
    """The open templates of one engine.

    Args:
        room_mib: Memory of all of them.
        wait_s: How long an opening waits for room.

    Attributes:
        stock: What is kept ready of them; None for nothing.
        given_up: Called when one was closed for another: it has no claim to its room on disk any more.
    """

    def __init__(self, room_mib: int, wait_s: float) -> None:
        self._room = room_mib * MIB
        self._wait_s = wait_s
        self._entries: dict[str, _Entry] = {}
        self._users: Counter[str] = Counter()
        self.stock: Stock | None = None
        self.given_up: Callable[[], Awaitable[None]] | None = None

    def get(self, key: str) -> Template | None:
        """Return an open template, marked as just used; None where it is not open."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used_at = time.monotonic()
        return entry.template

    def of_image(self, image: str) -> list[str]:
        """Return the keys of the open templates of an image."""
        opened = ((key, entry.template) for key, entry in self._entries.items())
        return [key for key, template in opened if template is not None and template.image.key == image]

    def hold(self, template: Template) -> Callable[[], None]:
        """Keep a template open; returns what ends that, to be called once."""
        self._users[template.record.key] += 1
        return partial(self._let_go, template.record.key)

    def _let_go(self, key: str) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]

    def size(self, scope: str | None = None) -> int:
        """Return the bytes of all that are open, or of those that a scope had made."""
        return sum(entry.size for entry in self._entries.values() if scope in (None, entry.scope))

    @asynccontextmanager
    async def opening(
        self, key: str, scope: str | None, size: int, progress: Progress | None
    ) -> AsyncIterator[Callable[[Template, Lock], None]]:
        """Make room for a template and yield what takes it in, with the lease on it.

        Where nothing was taken in, the room is free again.

        Args:
            key: The template's.
            scope: Who had it made.
            size: Its bytes.
            progress: Told that it waits; None for nobody.

        Raises:
            CapacityExhausted: Templates in use left no room for it for too long.
        """
        await self._make_room(size, progress)
        entry = self._entries[key] = _Entry(scope, size)

        def take_in(template: Template, lease: Lock) -> None:
            entry.template, entry.lease = template, lease

        try:
            yield take_in
        finally:
            if entry.template is None:
                # The end of the engine may have taken it out meanwhile.
                self._entries.pop(key, None)

    async def _make_room(self, size: int, progress: Progress | None) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                while self._entries and self.size() + size > self._room:
                    if (unused := self._unused()) is not None:
                        await shielded(self.close(unused))
                        if self.given_up is not None:
                            await self.given_up()
                        continue
                    if progress is not None:
                        progress.step("waiting for room for a template", None)
                        progress = None
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise CapacityExhausted(
                f"templates in use take the {self._room // MIB:,} MiB of memory that they have here, and "
                f"none became free within {self._wait_s:g} s; try again later, use a size and packages "
                "that are in use already, or raise templates.memory_mib"
            ) from None

    def _in_use(self, key: str) -> bool:
        being_opened = self._entries[key].template is None
        return being_opened or bool(self._users[key]) or (self.stock is not None and self.stock.uses(key))

    def _unused(self) -> str | None:
        """Return the open template that is given up next: of a scope beyond its share, then of any other."""

        def order(key: str) -> tuple[bool, float]:
            entry = self._entries[key]
            beyond = entry.scope is not None and self.size(entry.scope) > self._room // SHARE
            return not beyond, entry.used_at

        return min((key for key in self._entries if not self._in_use(key)), key=order, default=None)

    async def close(self, key: str) -> None:
        """Close a template, and what is kept ready of it; machines that live go on. Repeating is harmless."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        try:
            if self.stock is not None:
                await self.stock.drop(key)
            if entry.template is not None:
                await entry.template.snapshot.close()
                told = "template %s of %s closed"
                facts = {"action": "template.closed", "template": key}
                _log.info(told, key, entry.template.runtime.name, extra=facts)
        finally:
            if entry.lease is not None:
                entry.lease.release()

    async def close_all(self) -> None:
        """Close all that are open."""
        while self._entries:
            await self.close(next(iter(self._entries)))
