"""Calm: moments in which nothing is under way that others should step aside for."""

from __future__ import annotations

import asyncio

from emberbox.tasks import set_within


class Calm:
    """Counts what is under way."""

    def __init__(self) -> None:
        self._count = 0
        self._reached = asyncio.Event()
        self._reached.set()

    def disturb(self) -> None:
        """Say that something begins; `settle` must follow at its end."""
        self._count += 1
        self._reached.clear()

    def settle(self) -> None:
        """Say that something has ended."""
        self._count -= 1
        if not self._count:
            self._reached.set()

    async def wait(self, at_most_s: float) -> None:
        """Wait until nothing is under way, for `at_most_s` seconds."""
        await set_within(self._reached, at_most_s)
