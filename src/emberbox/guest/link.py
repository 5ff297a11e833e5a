"""What the parts of a channel need of the session that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from emberbox.errors import EmberboxError
    from emberbox.guest.frames import FrameType

_E = TypeVar("_E", bound="EmberboxError")


class Link(Protocol):
    """What a channel needs of its session."""

    def send(self, type_: FrameType, channel: int, payload: bytes = b"", flags: int = 0) -> None:
        """Put a frame on the wire; does nothing once the session has ended."""

    async def flush(self) -> None:
        """Wait while too much is unsent."""

    def pulse(self, within_s: float) -> None:
        """Have the agent show that it lives, or the session ends. Does not wait."""

    def fail(self, error: _E) -> _E:
        """End the session; returns a copy of the error, to raise."""
