"""Flow control of single streams, both directions (spec/guest-protocol.md, section 2, Credit).

Besides the protocol's own rules, frames that carry nothing are bounded by what the host itself did,
not by the clock: a VM that was paused hands over everything at once, and that is no offence.
"""

from __future__ import annotations

from emberbox.guest.frames import MAX_DATA, violation

INITIAL_CREDIT = 262_144
"""Bytes that may wait on either side of a stream."""
MAX_CREDIT = 2**31 - 1
GRANT_STEP = 65_536
"""Consumed bytes that are granted anew at once; fewer are not worth a frame."""
MAX_EMPTY_DATA = 64
"""Empty DATA frames without END that a stream may carry."""
FREE_GRANTS = 64
"""CREDIT frames that a stream may get beyond two for each DATA frame sent and one for each KiB."""


class ReceiveWindow:
    """What the host lets a guest send on one stream, and what it has taken."""

    __slots__ = ("_consumed", "_empty", "_open", "ended", "received")

    def __init__(self) -> None:
        self._open = INITIAL_CREDIT
        self._consumed = 0
        self._empty = 0
        self.received = 0
        """Payload bytes so far."""
        self.ended = False
        """Whether END has come."""

    @property
    def started(self) -> bool:
        """Whether any DATA has come."""
        return self.received > 0 or self._empty > 0 or self.ended

    def accept(self, length: int, *, end: bool) -> None:
        """Account for a DATA frame.

        Raises `GuestViolation` beyond the credit, after END, and for too many empty frames.
        """
        if self.ended:
            raise violation("DATA after the END of its stream")
        if length > self._open:
            raise violation(f"DATA that goes {length - self._open} bytes over its credit")
        self._open -= length
        self.received += length
        self.ended = end
        if not length and not end:
            self._empty += 1
            if self._empty > MAX_EMPTY_DATA:
                raise violation(f"more than {MAX_EMPTY_DATA} empty DATA frames on one stream")

    def consume(self, length: int) -> int:
        """Note that the reader took `length` bytes; returns how many to grant now, mostly 0."""
        self._consumed += length
        if self.ended or self._consumed < GRANT_STEP:
            return 0
        grant, self._consumed = self._consumed, 0
        self._open += grant
        return grant


class SendCredit:
    """What a guest lets the host send on one stream."""

    __slots__ = ("_bytes", "_frames", "_grants", "available")

    def __init__(self) -> None:
        self.available = INITIAL_CREDIT
        """Bytes that may be sent now."""
        self._bytes = 0
        self._frames = 0
        self._grants = 0

    def spend(self, wanted: int) -> int:
        """Take credit for one DATA frame of at most `wanted` bytes.

        Returns how many it may hold; 0 when there is no credit.
        """
        size = min(wanted, self.available, MAX_DATA)
        if size:
            self.available -= size
            self._bytes += size
            self._frames += 1
        return size

    def grant(self, amount: int) -> None:
        """Account for a CREDIT frame; raises `GuestViolation` for too much or too often."""
        self._grants += 1
        if self._grants > FREE_GRANTS + 2 * self._frames + self._bytes // 1024:
            raise violation("far more CREDIT frames than the host has sent data")
        if self.available + amount > MAX_CREDIT:
            raise violation("a CREDIT that takes a stream's credit above 2^31-1")
        self.available += amount
