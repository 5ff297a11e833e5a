"""How soon a worker takes further jobs when what keeps their results has failed."""

from __future__ import annotations

import time

from emberbox.net.backoff import Backoff

PAUSES = Backoff(first_s=1.0, longest_s=60.0)


class Pace:
    """Pauses between jobs that grow while the disk is full or a store is away. A success ends them.

    Without them, each job of a long queue would be begun in vain, again and again.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._until_s = float("-inf")

    def hinder(self) -> None:
        """Note a failure. Those of one pause count as one: jobs that run at once fail at once."""
        now = time.monotonic()
        if now >= self._until_s:
            self._failures += 1
            self._until_s = now + PAUSES.pause_s(self._failures)

    def ease(self) -> None:
        """Note a success: the next job may be taken now."""
        self._failures = 0
        self._until_s = float("-inf")

    @property
    def pause_s(self) -> float:
        """For how many seconds no job should be taken; 0 when one may be."""
        return max(0.0, self._until_s - time.monotonic())
