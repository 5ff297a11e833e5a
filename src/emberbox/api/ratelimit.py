"""Token buckets: how often a team and a key may call, and an address may fail."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

BUCKETS = 10_000
"""Buckets that are kept; of more, those unused for longest are forgotten, which makes them full."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """What became of one request.

    Args:
        granted: Whether it may go on.
        remaining: Requests that may follow at once.
        full_s: Seconds until the bucket is full again.
        wait_s: Seconds until one more request is granted; 0 when it is now.
        rate: Requests refilled in a second.
        burst: Size of the bucket.
    """

    granted: bool
    remaining: int
    full_s: float
    wait_s: float
    rate: float
    burst: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The raw fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers)."""
        window = math.ceil(self.burst / self.rate)
        return [
            (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (self.burst, window)),
            (b"ratelimit", b'"requests";r=%d;t=%d' % (self.remaining, math.ceil(self.full_s))),
        ]


class Limiter:
    """Buckets by name, in memory: each process of a service counts for itself.

    Args:
        clock: Seconds that only go up.
        buckets: Most buckets kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, buckets: int = BUCKETS) -> None:
        self._clock = clock
        self._most = buckets
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, rate: float, burst: int) -> Allowance:
        """Take one token from the bucket of `name`, which is full at its first use.

        Args:
            name: Of whom is counted.
            rate: Tokens refilled in a second, above 0.
            burst: Tokens in a full bucket, from 1.
        """
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(burst, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
        granted = bucket.tokens >= 1
        if granted:
            bucket.tokens -= 1
        wait_s = 0.0 if bucket.tokens >= 1 else (1 - bucket.tokens) / rate
        return Allowance(granted, int(bucket.tokens), (burst - bucket.tokens) / rate, wait_s, rate, burst)


def address_of(scope: Scope) -> str:
    """Return the name under which a caller's failures are counted.

    That is the address, or an IPv6 address's network of 64 bits.
    """
    client = scope.get("client")
    if not client:
        return "local"
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
    return str(address)
