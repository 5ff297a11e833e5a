"""What a channel needs of its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emberbox.errors import EmberboxError
    from emberbox.guest.frames import FrameType


class Link(Protocol):
    """The session of a channel."""

    def send(self, type_: FrameType, channel: int, payload: bytes = b"", flags: int = 0) -> None:
        """Put a frame on the wire; does nothing once the session has ended."""

    async def flush(self) -> None:
        """Wait while too much is unsent."""

    def fail(self, error: EmberboxError) -> None:
        """End the session."""
