"""One thing that Emberbox wants to reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to reach.

    Args:
        name: For people.
        measured: None when it was not measured.
        bound: What is wanted.
        unit: Of both; empty for a ratio.
        at_least: True when more is better.
    """

    name: str
    measured: float | None
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        measured = None if self.measured is None else round(self.measured, 4)
        return {**asdict(self), "measured": measured, "met": self.met}
