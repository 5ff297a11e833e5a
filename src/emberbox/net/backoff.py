"""When something that failed is tried again."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A schedule of pauses that grow by a factor up to the longest one. Who uses it counts the failures.

    Args:
        first_s: Pause after the first failure, in seconds.
        longest_s: Longest pause.
        factor: By what a pause grows with each failure, at least 1.
        jitter: The part of each pause that is left to chance, from 0 to 1: it is shorter by up to that part.
        retries: Tries after the first one; None for any number.
    """

    first_s: float
    longest_s: float
    factor: float = 2.0
    jitter: float = 0.0
    retries: int | None = None

    def pause_s(
        self,
        failures: int,
        *,
        asked_s: float = 0.0,
        chance: Callable[[], float] = random.random,
    ) -> float:
        """Return how long to wait before the next try, in seconds.

        Args:
            failures: Tries that failed in a row, from 1.
            asked_s: What the other side asked for, such as `Retry-After`: the pause is never shorter.
            chance: Returns a number from 0 to below 1.
        """
        bound = min(self.longest_s, self.first_s * self.factor ** min(failures - 1, _MOST_STEPS))
        return max(bound * (1 - self.jitter * (1 - chance())), asked_s)

    def next_s(self, failures: int, *, asked_s: float = 0.0, left_s: float = math.inf) -> float | None:
        """Return the same, or None when there should be no next try.

        Args:
            failures: Tries that failed in a row, from 1.
            asked_s: As for `pause_s`.
            left_s: What is left of the time for all tries together: the next one must begin within it.
        """
        if self.retries is not None and failures > self.retries:
            return None
        pause_s = self.pause_s(failures, asked_s=asked_s)
        return pause_s if pause_s < left_s else None


def retry_after_s(value: str, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, or None when it cannot be read. Never below 0.

    Args:
        value: Seconds, or a date (RFC 9110, 10.2.3). Empty for a header that is not there.
        now: The time; None means now.
    """
    text = value.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return float(text)
    try:
        date = parsedate_to_datetime(text[:64])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
