"""What a benchmark run was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.config import Settings

MEASUREMENTS = {
    "a": "cold",
    "b": "clone",
    "c": "pool",
    "f": "throughput",
    "g": "memory",
    "h": "burst",
    "i": "command",
    "j": "breakdown",
    "k": "service",
    "l": "stream",
    "m": "drain",
    "n": "submit",
    "o": "followers",
    "p": "idle",
}
"""What can be measured: the letter that tables show, and the name; `only` takes both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure.

    Attributes:
        measurements: What can be measured, as `MEASUREMENTS` has it.

    Args:
        quick: 5 samples each instead of 30, and shorter windows.
        only: Letters or names from `measurements`, each may hold several with commas between; empty for all.
        settings: Settings of the engines; None reads them from the file and the environment. Pools
            are set by the benchmark.

    Raises:
        InvalidInput: `only` names something that cannot be measured.
    """

    measurements: ClassVar[Mapping[str, str]] = MEASUREMENTS

    quick: bool = False
    only: tuple[str, ...] = ()
    settings: Settings | None = None

    def __post_init__(self) -> None:
        self.chosen  # noqa: B018  raises for a name that is none

    @property
    def chosen(self) -> frozenset[str]:
        """The names of what is to be measured."""
        words = [word.strip().lower() for part in self.only for word in part.split(",") if word.strip()]
        names = frozenset(self.measurements.values())
        known = {**self.measurements, **{name: name for name in names}}
        for word in words:
            if word not in known:
                choice = ", ".join(f"{letter} or {name}" for letter, name in self.measurements.items())
                raise InvalidInput(f"{word!r} cannot be measured; choose from {choice}")
        return frozenset(known[word] for word in words) or names

    @property
    def samples(self) -> int:
        """How often each latency is measured."""
        return 5 if self.quick else 30
