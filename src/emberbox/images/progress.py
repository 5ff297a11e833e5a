"""How a build tells what it is doing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Takes news of a build. Called on the event loop; must return at once."""

    def step(self, name: str, fraction: float | None) -> None:
        """A step has begun or gone on.

        `fraction` is the whole build's, 0 to 1; None when it cannot be told.
        """

    def log(self, line: str) -> None:
        """A line that a tool printed."""


class SilentProgress:
    """Drops all news."""

    def step(self, name: str, fraction: float | None) -> None:
        """Do nothing."""

    def log(self, line: str) -> None:
        """Do nothing."""
