"""How long to wait before a delivery is tried again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import WebhookSettings

_MOST_DOUBLINGS = 60


def pause_s(
    settings: WebhookSettings,
    attempt: int,
    *,
    retry_after_s: float | None = None,
    chance: Callable[[], float] = random.random,
) -> float:
    """Return the seconds until the next attempt: exponential back-off with full jitter.

    Args:
        settings: `retry_s` is the bound after the first failure, `retry_max_s` the bound of all pauses.
        attempt: Attempts made so far, from 1.
        retry_after_s: What the receiver asked for; it lengthens the pause, up to `retry_max_s`.
        chance: Returns a number from 0 to below 1.
    """
    bound: float = min(settings.retry_max_s, settings.retry_s * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return max(chance() * bound, min(retry_after_s or 0.0, settings.retry_max_s))


def retry_after_s(value: str, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, or None when it cannot be read. Never below 0.

    Args:
        value: Seconds, or a date (RFC 9110, 10.2.3).
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
