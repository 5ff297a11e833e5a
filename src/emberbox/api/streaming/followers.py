"""The places for streams that follow jobs: so many for each team, and so many for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.service.accounts.allotments import Allotment
from emberbox.service.accounts.quota import shares_of

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractContextManager

    from emberbox.config import Settings
    from emberbox.store.records import KeyRecord


@dataclass(frozen=True, slots=True)
class Follower:
    """A stream that may take a place.

    Args:
        place: Held while the stream lasts; entering it raises `QuotaExceeded` or `CapacityExhausted`
            where there is none.
        leaving: Set when the stream should end, since the service does.
    """

    place: AbstractContextManager[None]
    leaving: asyncio.Event


class Followers:
    """Counts the streams that are open at once.

    Args:
        settings: For `quota.followers` and `server.followers`.
        leaving: Set when all of them should end, since the service does.
    """

    def __init__(self, settings: Settings, leaving: asyncio.Event) -> None:
        self.leaving = leaving
        self._quota = settings.quota
        self._open = Allotment(
            "open streams",
            quota="followers",
            ceiling=settings.server.followers,
            setting="server.followers",
        )

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._open.total

    def one(self, key: KeyRecord) -> Follower:
        """Return a stream of this key, which has no place yet."""
        shares = shares_of(key, self._quota, self._open.quota)
        return Follower(self._open.hold(shares), self.leaving)
