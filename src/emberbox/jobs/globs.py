"""Globs of the files that a job leaves behind, relative to the work folder.

- `*` stands for any characters within one name, `?` for one, `[abc]`, `[a-z]` and `[!a-z]` for one of a set.
- `**` as a whole part stands for any number of folders, none included; at the end, for all files below.
- A pattern without any of these that names a folder means all files below it.
- A link that is named outright stands for the file behind it, in the sandbox; links that are found are passed over.
- Names that begin with a dot are like any other. Upper and lower case are told apart.

Absolute patterns and the part `..` are refused. Matching takes time in proportion to the lengths of pattern and path, whatever
they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from emberbox.errors import InvalidPath
from emberbox.jobs.paths import clean_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ANY_DEPTH = "**"
_MAGIC = frozenset("*?[")
MAX_PATTERN_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern: the folder where its search begins, relative to the work folder, and what follows it, part by part.

    No parts means that `folder` itself is named: a file, or a folder with all in it.
    """

    folder: str
    parts: tuple[str, ...]

    @property
    def recursive(self) -> bool:
        """Whether folders below `folder` are to be looked at."""
        return len(self.parts) > 1 or _ANY_DEPTH in self.parts

    def matches(self, path: str) -> bool:
        """Return whether a file's path, relative to `folder`, is meant."""
        if not self.parts:
            return True
        return _matches(path.split("/"), self.parts)


def parse_glob(pattern: str) -> Glob:
    """Take a pattern apart. Raises `InvalidPath` for one that is absolute, leads out, or is too long."""
    clean = clean_path(pattern)
    if len(clean) > MAX_PATTERN_LENGTH:
        raise InvalidPath(f"a pattern may have at most {MAX_PATTERN_LENGTH} characters")
    parts = clean.split("/")
    literal = 0
    while literal < len(parts) and not _MAGIC & set(parts[literal]):
        literal += 1
    return Glob("/".join(parts[:literal]) or ".", tuple(_collapsed(parts[literal:])))


def _collapsed(parts: Iterable[str]) -> list[str]:
    collapsed: list[str] = []
    for part in parts:
        if part != _ANY_DEPTH or collapsed[-1:] != [_ANY_DEPTH]:
            collapsed.append(part)
    # At the end, it means the files below.
    return [*collapsed, "*"] if collapsed[-1:] == [_ANY_DEPTH] else collapsed


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    # The parts of the pattern that may be next, while the path is read once from its beginning.
    states = {0}
    for name in names:
        after: set[int] = set()
        for state in _with_empty(states, parts):
            if state < len(parts) and parts[state] == _ANY_DEPTH:
                after.add(state)
            elif state < len(parts) and fnmatchcase(name, parts[state]):
                after.add(state + 1)
        states = after
    return len(parts) in states


def _with_empty(states: set[int], parts: Sequence[str]) -> set[int]:
    return states | {state + 1 for state in states if state < len(parts) and parts[state] == _ANY_DEPTH}
