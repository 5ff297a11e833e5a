"""Samples and what is said about them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly between the two nearest samples.

    Args:
        samples: At least one, in any order.
        percent: 0 to 100.

    Raises:
        ValueError: There is no sample, or `percent` is out of range.
    """
    if not samples:
        raise ValueError("a percentile of no samples")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be 0 to 100, not {percent}")
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is said about samples; in their unit, but for `n`."""

    n: int
    median: float
    p95: float
    p99: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Summary:
        """Summarise at least one sample. Raises `ValueError` when there is none."""
        return cls(
            n=len(samples),
            median=percentile(samples, 50),
            p95=percentile(samples, 95),
            p99=percentile(samples, 99),
            minimum=min(samples),
            maximum=max(samples),
        )


@dataclass(slots=True, kw_only=True)
class Series:
    """Samples of one measured thing, as they are taken.

    Attributes:
        name: Stable, for programs.
        label: For people.
        unit: Of the samples.
        samples: In the order in which they were taken.
        failures: What went wrong, one text for each sample that failed.
        note: How it was measured, where that matters.
    """

    name: str
    label: str
    unit: str = "ms"
    samples: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def summary(self) -> Summary | None:
        """What is said about the samples; None when there is none."""
        return Summary.of(self.samples) if self.samples else None

    @property
    def median(self) -> float | None:
        """The median; None without samples."""
        return percentile(self.samples, 50) if self.samples else None

    def to_dict(self) -> dict[str, Any]:
        """Return the series as JSON-ready values, samples included."""
        summary = self.summary
        return {
            "name": self.name,
            "label": self.label,
            "unit": self.unit,
            "note": self.note,
            "summary": None if summary is None else rounded(asdict(summary), 3),
            "failures": list(self.failures),
            "samples": rounded(self.samples, 3),
        }


def rounded(values: _T, digits: int) -> _T:
    """Return JSON-ready values in which each fraction has at most so many digits; all else stays as it is."""
    cut: object = values
    if isinstance(values, dict):
        cut = {name: rounded(value, digits) for name, value in values.items()}
    elif isinstance(values, list):
        cut = [rounded(value, digits) for value in values]
    elif isinstance(values, float):
        cut = round(values, digits)
    return cast("_T", cut)
