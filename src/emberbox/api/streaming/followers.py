"""The places for streams that follow jobs, of which a service has only so many."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator


class Followers:
    """Counts the streams that are open at once, so that there are never more than `limit`.

    Args:
        limit: Most streams.
        leaving: Set when all of them should end, since the service does.
    """

    def __init__(self, limit: int, leaving: asyncio.Event) -> None:
        self.limit = limit
        self.leaving = leaving
        self.count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place for a stream.

        Raises:
            CapacityExhausted: All places are taken.
        """
        if self.count >= self.limit:
            raise CapacityExhausted(
                f"all {self.limit} streams of this service are in use; try again later,"
                " read the log without following it, or raise server.followers"
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
