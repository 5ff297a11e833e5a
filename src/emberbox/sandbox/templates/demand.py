"""How many ready sandboxes are worth keeping.

As many are as were asked for in the worst short moment of the recent past.
"""

from __future__ import annotations

import math
from collections import deque

REFILL_S = 1.0
"""About how long a pool needs to make one more: demand within such a moment must be met from stock."""


class Demand:
    """Counts claims in a sliding window.

    Args:
        window_s: Claims older than this no longer count.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._claims: deque[float] = deque()

    def claim(self, now: float) -> None:
        """Note a claim at `now`, in seconds of a monotonic clock."""
        self._claims.append(now)
        self._forget(now)

    def target(self, now: float, minimum: int, maximum: int) -> int:
        """Return how many to keep, within the bounds.

        That is the most claims within any moment of `REFILL_S`, a quarter more, and one for growth.
        """
        self._forget(now)
        peak = 0
        start = 0
        claims = list(self._claims)
        for end, moment in enumerate(claims):
            while moment - claims[start] > REFILL_S:
                start += 1
            peak = max(peak, end - start + 1)
        wanted = math.ceil(peak * 1.25) + 1 if peak else 0
        return max(minimum, min(wanted, maximum))

    def _forget(self, now: float) -> None:
        while self._claims and now - self._claims[0] > self._window_s:
            self._claims.popleft()
