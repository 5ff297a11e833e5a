"""How fast a peer that is not trusted is read, so that a flood of it cannot keep the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """So many units a second on average. Who reads adds up what came, and pauses as it is told.

    Args:
        per_second: Units that may come in a second.
        at_once: Units that may come without a pause after a quiet time.
        clock: Seconds that only go up.
    """

    def __init__(
        self, per_second: float, at_once: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._clock = clock
        self._left = at_once
        self._seen = clock()

    def pause_s(self, units: float) -> float:
        """Return how long to read nothing now that so many units have come, in seconds; 0 for no pause."""
        now = self._clock()
        self._left = min(self._left + (now - self._seen) * self._per_second, self._at_once) - units
        self._seen = now
        return max(0.0, -self._left / self._per_second)
