"""What a comparison was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from emberbox.bench.options import MEASUREMENTS, BenchOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPARATORS = {"d": "gvisor", "e": "process"}
LANGUAGES = {"q": "languages"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedOptions(BenchOptions):
    """What to measure: Emberbox, what it is compared to, and languages.

    Args:
        languages: Runtimes to which the letter of languages is confined; empty for all whose image is built.
    """

    measurements: ClassVar[Mapping[str, str]] = dict(
        sorted({**MEASUREMENTS, **COMPARATORS, **LANGUAGES}.items())
    )

    languages: tuple[str, ...] = ()
