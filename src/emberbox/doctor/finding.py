"""What a check comes to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """Programs run, but slower, less confined, or not yet."""
    MISSING = "missing"
    """No program can be run."""
    UNKNOWN = "unknown"
    """It could not be seen, so it is not taken for good."""
    BY_HAND = "by_hand"
    """No program can see it: somebody has to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One requirement and what was found.

    Args:
        key: Stable name for programs.
        title: Short name for people.
        level: How much it matters.
        found: What was found.
        follows: What follows from it; None when nothing does.
        mend: The one command that mends it; None when there is none or nothing to mend.
    """

    key: str
    title: str
    level: Level
    found: str
    follows: str | None = None
    mend: str | None = None


def install_command(*packages: str, as_root: bool | None = None) -> str:
    """Return the line that installs Debian packages; `as_root` None looks whether we are root."""
    rootly = os.geteuid() == 0 if as_root is None else as_root
    return f"{'' if rootly else 'sudo '}apt-get install -y {' '.join(sorted(set(packages)))}"
