"""Signatures of webhook deliveries: how they are made, and how a receiver checks them.

The header reads `t=<seconds since the epoch>,v1=<hex>`, where the hex is HMAC-SHA256, with the
webhook's secret, over the time as it stands in the header, a full stop and the body as it was sent.
Several `v1` may stand in one header.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time

SIGNATURE_HEADER = "Emberbox-Signature"
EVENT_HEADER = "Emberbox-Event"
DELIVERY_HEADER = "Emberbox-Delivery"
TOLERANCE_S = 300.0

_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)
_LONGEST_HEADER = 1024


def sign(body: bytes, secret: str, time_s: int) -> str:
    """Return the value of the signature header.

    Args:
        body: The body, byte for byte.
        secret: The webhook's secret, with its prefix.
        time_s: Now, in whole seconds since the epoch.
    """
    return f"t={time_s},v1={_digest(body, secret, str(time_s))}"


def verify_signature(
    body: bytes | str,
    header: str | None,
    secret: str,
    tolerance_s: float = TOLERANCE_S,
    *,
    now_s: float | None = None,
) -> bool:
    """Return whether a delivery was signed with the secret, and not long ago.

    Never raises for what a stranger sent. A delivery that was recorded and is sent again within the
    tolerance passes: keep the ids of deliveries for that long to notice it.

    Args:
        body: The body as it was received, before any parsing.
        header: The value of `Emberbox-Signature`; None when there was none.
        secret: The webhook's secret, with its prefix (`whsec_…`).
        tolerance_s: How far, in seconds, the signature's time may be from now, to either side.
        now_s: The time in seconds since the epoch; None means now.
    """
    fields = [part.strip().partition("=") for part in (header or "")[:_LONGEST_HEADER].split(",")]
    times = [value for name, _, value in fields if name == "t"]
    given = [value.encode("utf-8", "replace") for name, _, value in fields if name == "v1"]
    if len(times) != 1 or not given or _TIME.fullmatch(times[0]) is None:
        return False
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    expected = _digest(data, secret, times[0]).encode()
    # Every one is compared, so that the time taken tells nothing.
    matches = sum(hmac.compare_digest(expected, one) for one in given)
    return matches > 0 and abs((time.time() if now_s is None else now_s) - int(times[0])) <= tolerance_s


def _digest(body: bytes, secret: str, time_s: str) -> str:
    return hmac.new(secret.encode(), time_s.encode() + b"." + body, hashlib.sha256).hexdigest()
