"""When a request is repeated, and after which pause."""

from __future__ import annotations

import math
import random

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
from emberbox.net.backoff import Backoff

_PASSING = (
    ServerUnreachable,
    ServiceStopping,
    NotReady,
    StoreError,
    BlobError,
    CapacityExhausted,
    DataFolderBusy,
)
_NOT_CARRIED_OUT = (RateLimited, ServiceStopping)
"""What the server answers before it does anything, so that any request may be repeated."""
_FIRST_S = 0.25
_LONGEST_S = 8.0
_PATIENCE_S = 60.0
"""Longest Retry-After that is waited for; a server that asks for more is not asked again."""


class RetryPolicy:
    """How often a request is repeated.

    Args:
        retries: Repetitions after the first try; 0 for none.
    """

    def __init__(self, retries: int = 4) -> None:
        self._backoff = Backoff(first_s=_FIRST_S, longest_s=_LONGEST_S, jitter=0.5, retries=retries)

    def pause_s(
        self,
        error: EmberboxError,
        tried: int,
        *,
        safe: bool,
        asked_s: float | None = None,
        left_s: float = math.inf,
    ) -> float | None:
        """Return how long to wait before the next try; None when there should be none.

        Args:
            error: What the last try came to.
            tried: Tries so far.
            safe: Whether the request may be carried out twice without harm.
            asked_s: The server's Retry-After; None without one.
            left_s: What is left of the caller's time; the next try must begin within it.
        """
        passing = safe and error.retryable and isinstance(error, _PASSING)
        if not (passing or isinstance(error, _NOT_CARRIED_OUT)) or (asked_s or 0.0) > _PATIENCE_S:
            return None
        # A little later than asked, each client by itself, so that they do not all come back at once.
        asked_s = 0.0 if asked_s is None else asked_s + random.uniform(0, _FIRST_S)  # noqa: S311
        return self._backoff.next_s(tried, asked_s=asked_s, left_s=left_s)


PATIENT = RetryPolicy(retries=8)
"""For what goes on for long: a service that is restarted meanwhile, which may take it half a
minute, ends no waiting."""
