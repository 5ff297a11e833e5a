"""Globs of files below a folder.

- `*` stands for any characters within one name, `?` for one, `[abc]`, `[a-z]` and `[!a-z]` for one of a set.
- `**` as a whole part stands for any number of folders, none included; at the end, for all files below.
- Names that begin with a dot are like any other. Upper and lower case are told apart.

Absolute patterns and the part `..` are refused. Matching takes time in proportion to the lengths of pattern
and path, whatever they hold: all ways through a pattern are followed at once, name by name, and none is tried
twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from emberbox.errors import InvalidPath
from emberbox.files.paths import clean_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ANY_DEPTH = "**"
_MAGIC = frozenset("*?[")
MAX_PARTS = 64
"""Most parts of a pattern from the first one on that has a sign of globs."""


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern: the folder where its search begins, and what follows it, part by part.

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
        places = frozenset({0})
        for name in path.split("/"):
            places = _after(name, places, self.parts)
        return len(self.parts) in places


class GlobSet:
    """Tells whether a path, or a folder above it, is meant by one of some globs.

    Args:
        patterns: Relative to a common root, which paths are relative to as well.

    Raises:
        InvalidPath: A pattern cannot be one, as for `parse_glob`.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [_parts(parse_glob(pattern)) for pattern in patterns]
        self._folders = {"": dict.fromkeys(range(len(self._patterns)), frozenset({0}))}

    def covers(self, path: str) -> bool:
        """Tell it of a path in the form of `clean_path`."""
        folder, _, name = path.rpartition("/")
        known, unknown = folder, []
        while known not in self._folders:
            unknown.append(known)
            known = known.rpartition("/")[0]
        places = self._folders[known]
        for below in reversed(unknown):
            places = self._folders[below] = self._below(below.rpartition("/")[2], places)
        return self._ends(self._below(name, places))

    def _below(self, name: str, places: dict[int, frozenset[int]]) -> dict[int, frozenset[int]]:
        """Return where each pattern goes on below a name; nothing changes once one of them is at its end."""
        if self._ends(places):
            return places
        moved = {number: _after(name, at, self._patterns[number]) for number, at in places.items()}
        return {number: at for number, at in moved.items() if at}

    def _ends(self, places: dict[int, frozenset[int]]) -> bool:
        return any(len(self._patterns[number]) in at for number, at in places.items())


def parse_glob(pattern: str) -> Glob:
    """Take a pattern apart.

    Raises:
        InvalidPath: It is absolute, leads out, is no path for another reason, or has more than 64 parts from
            the first one with a sign on.
    """
    parts = clean_path(pattern).split("/")
    literal = 0
    while literal < len(parts) and not _MAGIC & set(parts[literal]):
        literal += 1
    if len(parts) - literal > MAX_PARTS:
        raise InvalidPath(f"a pattern may have {MAX_PARTS} parts at most from the first with *, ? or [ on")
    return Glob("/".join(parts[:literal]) or ".", tuple(_collapsed(parts[literal:])))


def _parts(glob: Glob) -> tuple[str, ...]:
    return glob.parts if glob.folder == "." else (*glob.folder.split("/"), *glob.parts)


def _collapsed(parts: Iterable[str]) -> list[str]:
    collapsed: list[str] = []
    for part in parts:
        if part != _ANY_DEPTH or collapsed[-1:] != [_ANY_DEPTH]:
            collapsed.append(part)
    # At the end, it means the files below.
    return [*collapsed, "*"] if collapsed[-1:] == [_ANY_DEPTH] else collapsed


def _after(name: str, places: frozenset[int], parts: Sequence[str]) -> frozenset[int]:
    """Return which parts may come behind a name, from those that it may be; their number is for the end."""
    after: set[int] = set()
    for place in places:
        # `**` may stand for no folder at all: then the name is what follows it, which is never another `**`.
        deep = place < len(parts) and parts[place] == _ANY_DEPTH
        after |= {place} if deep else set()
        here = place + deep
        if here < len(parts) and (parts[here] == "*" or fnmatchcase(name, parts[here])):
            after.add(here + 1)
    return frozenset(after)
