"""How a session begins: HELLO, and REFUSE where the versions differ.

Source: spec/guest-protocol.md, section 2, Session.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from emberbox.errors import GuestError, GuestTimeout, GuestVersionMismatch
from emberbox.guest.fields import Fields
from emberbox.guest.frames import MINOR, PROTOCOL, Frame, FrameType, decode_object, encode_object, violation
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO_AGAIN_S = 2.0
"""How long to wait for the agent's HELLO before asking for it; doubled each time."""


class Greeting:
    """The frames of channel 0.

    Args:
        send: Puts a frame on the wire.
    """

    def __init__(self, send: Callable[[FrameType, int, bytes], None]) -> None:
        self._send = send
        self._sent = 0
        self._seen = 0
        self._hello: dict[str, Any] | None = None
        self._came = asyncio.Event()

    def stop(self) -> None:
        """Wake who waits, because the session has ended."""
        self._came.set()

    async def exchange(self, *, timeout_s: float, host_version: str) -> dict[str, Any]:
        """Wait for the agent's HELLO and answer it; returns it, empty when `stop` was called.

        A port may lose what was sent ahead of its opening, so the host asks again, ever more
        rarely: its own HELLO at any time makes the agent say HELLO.

        Raises:
            GuestTimeout: No HELLO within `timeout_s` seconds.
        """
        mine = encode_object({"protocol": PROTOCOL, "minor": MINOR, "host": host_version})
        patience = HELLO_AGAIN_S
        try:
            async with asyncio.timeout(timeout_s):
                while not await set_within(self._came, patience):
                    self._say(mine)
                    patience *= 2
        except TimeoutError:
            raise GuestTimeout(
                f"the guest's agent did not say hello within {timeout_s:g} s; its sandbox was ended"
            ) from None
        self._say(mine)
        return self._hello or {}

    def _say(self, payload: bytes) -> None:
        self._sent += 1
        self._send(FrameType.HELLO, 0, payload)

    def receive(self, frame: Frame) -> None:
        """Take the agent's HELLO or REFUSE.

        Raises:
            GuestViolation: It cannot be, or is one HELLO more than the host's own can have caused.
            GuestVersionMismatch: The agent speaks another version (then REFUSE was sent) or refused ours.
            GuestError: The agent refused for another reason.
        """
        values = decode_object(frame.payload)
        fields = Fields(values, frame.type.name)
        if frame.type is FrameType.REFUSE:
            raise _refusal(fields)
        self._seen += 1
        if self._seen > max(1, self._sent):
            raise violation("a HELLO that nobody asked for")
        theirs = fields.integer("protocol", high=2**31)
        if theirs != PROTOCOL:
            raise self._mismatch(theirs)
        if self._hello is None:
            self._hello = values
        self._came.set()

    def _mismatch(self, theirs: int) -> GuestVersionMismatch:
        message = f"the host speaks protocol {PROTOCOL}, the agent {theirs}"
        self._send(FrameType.REFUSE, 0, encode_object({"code": "protocol_version", "message": message}))
        return GuestVersionMismatch(f"{message}; rebuild the image with this version of Emberbox")


def _refusal(fields: Fields) -> GuestError:
    code, message = fields.token("code"), fields.text("message")
    if code == "protocol_version":
        return GuestVersionMismatch(
            f"the agent refused: {message}; rebuild the image with this version of Emberbox"
        )
    return GuestError(f"the agent refused to go on ({code}); its sandbox was ended", detail=message)
