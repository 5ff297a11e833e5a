"""What a check comes to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum

from emberbox.errors import RequirementMissing


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


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement, before it was looked at: makes its findings, of each level.

    Args:
        key: Stable name for programs.
        title: Short name for people.
    """

    key: str
    title: str

    def of(self, level: Level, found: str, follows: str | None = None, mend: str | None = None) -> Finding:
        """Return a finding; arguments as for `Finding`."""
        return Finding(key=self.key, title=self.title, level=level, found=found, follows=follows, mend=mend)

    def ok(self, found: str) -> Finding:
        """Return a finding of `Level.OK`."""
        return self.of(Level.OK, found)

    def warning(self, found: str, follows: str | None = None, mend: str | None = None) -> Finding:
        """Return a finding of `Level.WARNING`."""
        return self.of(Level.WARNING, found, follows, mend)

    def missing(self, found: str, follows: str | None = None, mend: str | None = None) -> Finding:
        """Return a finding of `Level.MISSING`."""
        return self.of(Level.MISSING, found, follows, mend)

    def unknown(self, found: str, follows: str | None = None) -> Finding:
        """Return a finding of `Level.UNKNOWN`."""
        return self.of(Level.UNKNOWN, found, follows)

    def by_hand(self, found: str, follows: str, mend: str | None = None) -> Finding:
        """Return a finding of `Level.BY_HAND`."""
        return self.of(Level.BY_HAND, found, follows, mend)


def problem_of(error: Exception) -> tuple[str, str | None]:
    """Return what an error says, in one line, and the command that mends it; None where there is none."""
    return str(error).partition("\n")[0], error.mend if isinstance(error, RequirementMissing) else None


def install_command(*packages: str, as_root: bool | None = None) -> str:
    """Return the line that installs Debian packages; `as_root` None looks whether we are root."""
    rootly = os.geteuid() == 0 if as_root is None else as_root
    return f"{'' if rootly else 'sudo '}apt-get install -y {' '.join(sorted(set(packages)))}"
