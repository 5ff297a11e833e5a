"""Tells systemd how the service is (sd_notify(3)); without systemd, nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Never


def notify(state: str) -> None:
    """Send `READY=1` and the like to the socket that systemd named; a message that is lost is no error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send(state.encode())


def watchdog_interval_s() -> float | None:
    """Return how often systemd wants to hear of this process, in seconds; None when it does not."""
    wanted, mine = os.environ.get("WATCHDOG_USEC", ""), str(os.getpid())
    if not wanted.isdigit() or int(wanted) == 0 or os.environ.get("WATCHDOG_PID", mine) != mine:
        return None
    return int(wanted) / 1e6 / 2


async def feed_watchdog(interval_s: float) -> Never:
    """Tell systemd again and again that the event loop turns."""
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
