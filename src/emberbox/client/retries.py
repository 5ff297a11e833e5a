"""When a request is repeated, and after which pause."""

from __future__ import annotations

import random
from dataclasses import dataclass

from emberbox.errors import (
    BlobError,
    CapacityExhausted,
    DataFolderBusy,
    EmberboxError,
    NotReady,
    RateLimited,
    ServerUnreachable,
    ServiceStopping,
    StoreError,
)

_PASSING = (ServerUnreachable, ServiceStopping, NotReady, StoreError, BlobError, CapacityExhausted, DataFolderBusy)
_NOT_CARRIED_OUT = (RateLimited, ServiceStopping)
"""What the server answers before it does anything, so that any request may be repeated."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is repeated.

    Args:
        retries: Repetitions after the first try; 0 for none.
        first_s: Longest pause before the first repetition; it doubles with each one.
        longest_s: Longest pause.
        patience_s: Longest Retry-After that is waited for; a server that asks for more is not asked again.
    """

    retries: int = 4
    first_s: float = 0.25
    longest_s: float = 8.0
    patience_s: float = 60.0

    def pause_s(self, error: EmberboxError, tried: int, *, safe: bool, asked_s: float | None = None) -> float | None:
        """Return how long to wait before the next try; None when there should be none.

        Args:
            error: What the last try came to.
            tried: Tries so far.
            safe: Whether the request may be carried out twice without harm.
            asked_s: The server's Retry-After; None without one.
        """
        if tried > self.retries or not self._helps(error, safe=safe):
            return None
        if asked_s is not None:
            # A little later than asked, each client by itself, so that they do not all come back at once.
            return asked_s + random.uniform(0, self.first_s) if asked_s <= self.patience_s else None  # noqa: S311
        bound = min(self.longest_s, self.first_s * 2 ** (tried - 1))
        return random.uniform(bound / 2, bound)  # noqa: S311

    @staticmethod
    def _helps(error: EmberboxError, *, safe: bool) -> bool:
        if isinstance(error, _NOT_CARRIED_OUT):
            return True
        return safe and error.retryable and isinstance(error, _PASSING)


PATIENT = RetryPolicy(retries=8)
"""For what goes on for long: a service that is restarted meanwhile, which may take it half a minute, ends no waiting."""
