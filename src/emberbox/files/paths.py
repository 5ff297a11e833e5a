"""Paths that people and guests give to files: what is taken, in which form, and how it is shown."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidPath
from emberbox.text import escaped, has_hidden

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
MAX_GUEST_PATH_BYTES = 4096
"""The longest path that a file of a guest can have, as Linux counts."""


def clean_path(path: str) -> str:
    """Return a relative path in its one form: slashes, no `.` parts, no empty parts.

    Letters of every script are taken as they are, neither composed nor decomposed: programs name their files
    so.

    Raises:
        InvalidPath: It is empty or absolute, has a part `..`, hidden characters (`emberbox.text`) or bytes
            that are not UTF-8, or is longer than 1024 bytes (255 for each part).
    """
    if path.startswith("/"):
        raise InvalidPath(f"{_quoted(path)} must be relative: files lie in the work folder")
    if has_hidden(path):
        raise InvalidPath(
            f"{_quoted(path)} has control characters or others that are not seen, or is not UTF-8; "
            "rename the file"
        )
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidPath(f"{_quoted(path)} leads out of its folder; leave out the part '..'")
    clean = "/".join(parts)
    if not clean:
        raise InvalidPath(f"{_quoted(path)} names no file")
    if len(clean.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        most = f"at most {MAX_PATH_BYTES} bytes, and {MAX_NAME_BYTES} for each part"
        raise InvalidPath(f"{_quoted(path)} is too long: {most}")
    return clean


def check_plain(path: str) -> None:
    """Check that a path has its one form already, as `clean_path` returns it. Raises `InvalidPath`."""
    if clean_path(path) != path:
        wanted = "a plain path below the work folder, such as data/input.txt"
        raise InvalidPath(f"{_quoted(path)} must be {wanted}")


def check_distinct(paths: Iterable[str]) -> None:
    """Check that clean paths can lie beside each other.

    Raises:
        InvalidPath: Two are equal, or look equal (they differ in how their letters are composed alone), or
            one is a file where another has a folder. Upper and lower case differ, as in the guest's file
            system.
    """
    seen: dict[str, str] = {}
    for path in paths:
        form = unicodedata.normalize("NFC", path)
        if form in seen:
            raise InvalidPath(f"{_quoted(path)} is there twice; each file needs a name of its own")
        seen[form] = path
    for form, path in seen.items():
        folder = form
        while folder := folder.rpartition("/")[0]:
            if folder in seen:
                both = f"{_quoted(folder)} is a file, and the folder of {_quoted(path)}"
                raise InvalidPath(f"{both}; rename one of them")


def stays_below(path: str) -> bool:
    """Tell whether a guest's path, as it is, names something below the folder that it is relative to.

    It does unless it has empty parts (as absolute paths have), `.` or `..` as a part, a NUL, or more than
    4096 bytes. Bytes that are not UTF-8 are taken as surrogate escapes. Links that lead elsewhere are another
    matter.
    """
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False
    return size <= MAX_GUEST_PATH_BYTES and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def readable(text: str) -> str:
    r"""Return a guest's text for people: hidden characters, and bytes that are not UTF-8, written out."""
    return escaped(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def _quoted(path: str) -> str:
    if path.isprintable() and not has_hidden(path):
        return repr(path[:100])
    return ascii(path if len(path) <= 100 else path[:100] + "…")


def tree_of(folder: Path, *, without: Collection[str] = ()) -> Iterator[Path]:
    """Go through all that is below a folder, sorted, but for caches that an interpreter leaves.

    Args:
        folder: Where to begin. Links are not followed.
        without: Names of folders in it that are passed over as well.
    """
    for root, folders, files in os.walk(folder):
        place = Path(root)
        passed_over = {"__pycache__", *(without if place == folder else ())}
        folders[:] = sorted(name for name in folders if name not in passed_over)
        for name in sorted([*folders, *files]):
            yield place / name


def text_of(path: Path) -> str:
    """Return the text of a small file; empty where it is missing, or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
