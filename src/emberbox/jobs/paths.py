"""Paths that people give to files: what is taken, and in which form."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from emberbox.errors import InvalidPath

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
# Control characters, and those that have no place in text at all (surrogates, which come from names that are not UTF-8).
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs"})


def clean_path(path: str) -> str:
    """Return a relative path in its one form: slashes, no `.` parts, no empty parts.

    Letters of every script are taken as they are, neither composed nor decomposed, since programs name their files so.

    Raises:
        InvalidPath: It is empty or absolute, has a part `..`, control characters or bytes that are not UTF-8, or is longer
            than 1024 bytes (255 for each part).
    """
    if path.startswith("/"):
        raise InvalidPath(f"{_shown(path)} must be relative: files lie in the work folder")
    if has_controls(path):
        raise InvalidPath(f"{_shown(path)} has control characters, or is not UTF-8; rename the file")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidPath(f"{_shown(path)} leads out of its folder; leave out the part '..'")
    clean = "/".join(parts)
    if not clean:
        raise InvalidPath(f"{_shown(path)} names no file")
    if len(clean.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise InvalidPath(f"{_shown(path)} is too long: at most {MAX_PATH_BYTES} bytes, and {MAX_NAME_BYTES} for each part")
    return clean


def has_controls(text: str) -> bool:
    """Return whether a text has control characters, or halves of characters, which no UTF-8 can hold."""
    return any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in text)


def check_distinct(paths: Iterable[str]) -> None:
    """Check that clean paths can lie beside each other.

    Raises:
        InvalidPath: Two are equal, or look equal (they differ in how their letters are composed alone), or one is a file
            where another has a folder. Upper and lower case are told apart, as the guest's file system does.
    """
    seen: dict[str, str] = {}
    for path in paths:
        form = unicodedata.normalize("NFC", path)
        if form in seen:
            raise InvalidPath(f"{_shown(path)} is there twice; each file needs a name of its own")
        seen[form] = path
    for form, path in seen.items():
        folder = form
        while folder := folder.rpartition("/")[0]:
            if folder in seen:
                raise InvalidPath(f"{_shown(folder)} is a file, and the folder of {_shown(path)}; rename one of them")


def _shown(path: str) -> str:
    return ascii(path if len(path) <= 100 else path[:100] + "…") if not path.isprintable() else repr(path[:100])
