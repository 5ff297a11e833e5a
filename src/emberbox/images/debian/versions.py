"""Which of two versions of a Debian package is the newer one (deb-version(7))."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = re.compile(r"(\D*)(\d*)")


def is_newer(version: str, than: str) -> bool:
    """Tell whether a version is newer than another one.

    Both are well-formed, as in dpkg's and apt's own lists.
    """
    return _key(version) > _key(than)


def _key(version: str) -> tuple[int, list[tuple[list[int], int]], list[tuple[list[int], int]]]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), list(_pieces(upstream)), list(_pieces(revision))


def _pieces(text: str) -> Iterator[tuple[list[int], int]]:
    """Go through the runs of other characters, each with the number behind it.

    A run ends in 0, the end of a version too: `~` is less than that, all else is more, letters before
    signs.
    """
    # Without zeros at its end a text is what it is with them: no revision is revision 0.
    for other, digits in _PIECE.findall(re.sub(r"(?<!\d)0+$", "", text)):
        if other or digits:
            yield [*map(_order, other), 0], int(digits or 0)
    yield [0], 0


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
