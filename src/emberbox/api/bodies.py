"""The bodies of requests that are coming in: how many, how much of them, and how slowly.

A body of JSON lies in memory until its request is answered, since the route has it. What an upload
holds goes on to the disk, so that only a little of it lies in memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.api.problems import BodyRefused, BodyStalled, BodyTooLarge
from emberbox.errors import EmberboxError
from emberbox.model import MIB
from emberbox.service.accounts.allotments import Allotment
from emberbox.service.accounts.quota import shares_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive

    from emberbox.config import Settings
    from emberbox.service.accounts.quota import Share
    from emberbox.store.records import KeyRecord

STALLED_S = 60.0
"""How long a body that is not complete may bring nothing more."""
GRACE_S = 30.0
"""How long a body may take besides what its bytes take at the slowest rate."""
UPLOAD_MEMORY_BYTES = 2 * MIB
"""Most that lies in memory of an upload."""


class OpenBodies:
    """The room for bodies: so much for each team, and so much for all.

    Args:
        settings: For the quotas `open_bodies` and `body_bytes`, the ceilings of the same names, and
            `server.body_bytes_per_s`.
    """

    def __init__(self, settings: Settings) -> None:
        ceiling = settings.ceiling
        self._quota = settings.quota
        self.slowest = settings.server.body_bytes_per_s
        self._count = Allotment(
            "bodies of requests under way",
            quota="open_bodies",
            ceiling=ceiling.open_bodies,
            setting="ceiling.open_bodies",
        )
        self._bytes = Allotment(
            "bytes of requests' bodies in memory",
            quota="body_bytes",
            ceiling=ceiling.body_bytes,
            setting="ceiling.body_bytes",
        )

    @property
    def count(self) -> int:
        """How many bodies are not complete yet."""
        return self._count.total

    @property
    def bytes(self) -> int:
        """How many bytes all of them may take."""
        return self._bytes.total

    def place(self, key: KeyRecord | None) -> BodyPlace:
        """Return the place of one request's body, which holds nothing yet; None for a public address."""
        of_count, of_size = (
            [] if key is None else shares_of(key, self._quota, allotment.quota)
            for allotment in (self._count, self._bytes)
        )
        return BodyPlace(self._count, self._bytes, of_count, of_size)


class BodyPlace:
    """What one body holds of the room. `leave` gives it back.

    Args:
        count: The bodies that are not complete.
        size: Their bytes.
        of_count: The caller's shares of the one.
        of_size: And of the other.
    """

    def __init__(
        self, count: Allotment, size: Allotment, of_count: Sequence[Share], of_size: Sequence[Share]
    ) -> None:
        self._count = count
        self._size = size
        self._of_count = of_count
        self._of_size = of_size
        self._open = False
        self._held = 0

    def open(self, size: int) -> None:
        """Take a place for a body of which `size` bytes are announced.

        Raises `QuotaExceeded` or `CapacityExhausted`; then nothing is held.
        """
        self._count.take(self._of_count, 1)
        self._open = True
        try:
            self.grow(size)
        except EmberboxError:
            self.complete()
            raise

    def grow(self, size: int) -> None:
        """Hold `size` bytes, if that is more than is held. Raises as `open` does."""
        if size > self._held:
            self._size.take(self._of_size, size - self._held)
            self._held = size

    def complete(self) -> None:
        """Give the place back: all bytes have come. Repeating is harmless."""
        if self._open:
            self._open = False
            self._count.give(self._of_count, 1)

    def leave(self) -> None:
        """Give everything back. Repeating is harmless."""
        self.complete()
        if self._held:
            self._size.give(self._of_size, self._held)
            self._held = 0


class IncomingBody:
    """The body of one request, as it is read.

    Args:
        receive: Brings it.
        bound: Most bytes of it.
        place: Its room.
        slowest: Bytes in a second that it must bring at least; 0 for no bound.
        in_memory: Most bytes of it that lie in memory.
    """

    def __init__(
        self, receive: Receive, bound: int, place: BodyPlace, *, slowest: int, in_memory: int
    ) -> None:
        self._receive = receive
        self._bound = bound
        self._place = place
        self._slowest = slowest
        self._in_memory = in_memory
        self._taken = 0
        self._waited_s = 0.0
        self._more = True

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            BodyTooLarge, BodyStalled, BodyRefused: The rest is not taken.
        """
        if not self._more:
            # What comes now is the caller's leaving, for which there is no hurry.
            return await self._receive()
        message = await self._next()
        self._taken += len(message.get("body", b""))
        self._more = bool(message.get("more_body"))
        if self._taken > self._bound:
            raise BodyTooLarge(self._bound)
        try:
            self._place.grow(min(self._taken, self._in_memory))
        except EmberboxError as error:
            raise BodyRefused(error) from error
        if not self._more:
            self._place.complete()
        return message

    async def _next(self) -> Message:
        # Only the sender's time counts, not that in which the service was busy with what had come.
        left_s = self._allowed_s() - self._waited_s
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with asyncio.timeout(min(STALLED_S, left_s)):
                message = await self._receive()
        except TimeoutError:
            if left_s < STALLED_S:
                raise BodyStalled(f"the body came at less than {self._slowest} bytes a second") from None
            raise BodyStalled(f"nothing came of the body for {STALLED_S:g} seconds") from None
        self._waited_s += loop.time() - began_s
        return message

    def _allowed_s(self) -> float:
        return GRACE_S + self._taken / self._slowest if self._slowest else float("inf")
