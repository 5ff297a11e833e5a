"""Notices when a key that holds a connection open is no longer good for it.

A request is let in by its key once. What goes on afterwards, such as a stream, asks here to be told
when the key is revoked, suspended, expired, rotated away or given fewer scopes.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from emberbox.errors import StoreError
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from emberbox.errors import EmberboxError

_log = logging.getLogger(__name__)

WATCH_S = 0.5
"""Interval at which the keys of open connections are looked up: what another process changed shows after
that and one look at the database."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A key with which a connection is open.

    Args:
        watch: Tells of its end.
        digest: Of the secret that was given.
        scopes: Those that the key had then.
    """

    watch: KeyWatch
    digest: str
    scopes: frozenset[str]

    async def lost(self) -> EmberboxError:
        """Return as soon as the key is no longer good, with the error that says why. Safe to cancel."""
        return await self.watch.lost(self)


class KeyWatch:
    """The keys of open connections.

    Args:
        judge: Returns of each hold what speaks against it, None for nothing. Raises `StoreError`.
    """

    def __init__(self, judge: Callable[[Sequence[Hold]], Awaitable[list[EmberboxError | None]]]) -> None:
        self._judge = judge
        self._held: dict[asyncio.Future[EmberboxError], Hold] = {}
        self._woken = asyncio.Event()

    def look(self) -> None:
        """Look at once: keys were changed in this process."""
        self._woken.set()

    async def lost(self, hold: Hold) -> EmberboxError:
        """See `Hold`."""
        told: asyncio.Future[EmberboxError] = asyncio.get_running_loop().create_future()
        self._held[told] = hold
        try:
            return await told
        finally:
            del self._held[told]

    async def run(self) -> Never:
        """Look until cancelled. While the database does not answer, connections stay open."""
        while True:
            await set_within(self._woken, WATCH_S)
            self._woken.clear()
            try:
                await self._look()
            except StoreError as error:
                _log.warning("keys cannot be looked up: %s", error, extra={"action": "keys.watch_failed"})

    async def _look(self) -> None:
        held = dict(self._held)
        if not held:
            return
        for told, error in zip(held, await self._judge(list(held.values())), strict=True):
            if error is not None and not told.done():
                told.set_result(error)
