"""Identifiers: a prefix that says what they name, then 26 characters that sort by time.

The layout is ULID's (48 bits of milliseconds, 80 random bits, Crockford's base 32, here in lower
case), with one difference: identifiers of one process within a millisecond count upwards, so that
they sort in the order in which they were made.
"""

from __future__ import annotations

import os
import re
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return a new identifier such as `job_01k…`. 79 random bits: it can be neither guessed nor met twice."""
    global _last
    fresh = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10)) >> 1
    with _lock:
        if fresh >> 80 <= _last >> 80:
            # Random steps, so that the one after a known identifier cannot be guessed either.
            fresh = _last + 1 + int.from_bytes(os.urandom(8))
        _last = fresh
    return f"{prefix}_{_encode(fresh)}"


def id_pattern(prefix: str) -> str:
    """Return the regular expression of identifiers with this prefix, for schemas; without anchors."""
    return rf"{prefix}_[0-9a-hjkmnp-tv-z]{{{_LENGTH}}}"


def is_id(text: str, prefix: str) -> bool:
    """Return whether `text` could be an identifier with this prefix."""
    return re.fullmatch(id_pattern(prefix), text) is not None


def _encode(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))
