"""What a benchmark run was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.config import Settings

MEASUREMENTS = {
    "a": "cold",
    "b": "clone",
    "c": "pool",
    "d": "gvisor",
    "e": "process",
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
    "q": "languages",
}
"""What can be measured: the letter that tables show, and the name; `only` takes both."""
LATENCIES = frozenset({"cold", "clone", "pool", "gvisor", "process", "command"})
"""Those that are measured in turns, so that a machine that slows down slows all of them down."""
DEFAULT_OUTPUT = Path("bench/results")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure and where to write it.

    Args:
        json: Print the JSON on standard output, and nothing else.
        quick: 5 samples each instead of 30, and shorter windows.
        only: Letters or names from `MEASUREMENTS`, each may hold several with commas between; empty for all.
        languages: Runtimes to which the letter of languages is confined; empty for all whose image is built.
        output: Folder of latest.json and latest.md, made when missing.
        settings: Settings of the engines; None reads them from the file and the environment. Pools are set by the benchmark.

    Raises:
        InvalidInput: `only` names something that cannot be measured.
    """

    json: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    output: Path = DEFAULT_OUTPUT
    settings: Settings | None = None

    def __post_init__(self) -> None:
        self.chosen  # noqa: B018  raises for a name that is none

    @property
    def chosen(self) -> frozenset[str]:
        """The names of what is to be measured."""
        words = [word.strip().lower() for part in self.only for word in part.split(",") if word.strip()]
        known = {**MEASUREMENTS, **{name: name for name in MEASUREMENTS.values()}}
        for word in words:
            if word not in known:
                choice = ", ".join(f"{letter} or {name}" for letter, name in MEASUREMENTS.items())
                raise InvalidInput(f"{word!r} cannot be measured; choose from {choice}")
        return frozenset(known[word] for word in words) or frozenset(MEASUREMENTS.values())

    @property
    def samples(self) -> int:
        """How often each latency is measured."""
        return 5 if self.quick else 30
