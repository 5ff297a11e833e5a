"""Finds whom an image's programs run as, in its own files of users and groups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageImportFailed
from emberbox.images.oci import bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class GuestUser:
    """Numbers of a user and its group, and its home folder."""

    uid: int
    gid: int
    home: str

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def find_user(named: str, read: Callable[[str], str]) -> GuestUser:
    """Return the user that `named` means: `NAME`, `UID`, `NAME:GROUP`, `UID:GID` and so on.

    Args:
        named: As in an image's configuration; not empty.
        read: Returns a text file of the image; empty where there is none.

    Raises:
        ImageImportFailed: The image knows no such user or group.
    """
    user, colon, group = named.partition(":")
    accounts = _records(read("etc/passwd"), 6)
    known = next((fields for fields in accounts if user in (fields[0], fields[2])), None)
    if known is not None:
        uid, gid, home = _number(known[2], named), _number(known[3], named), known[5]
    else:
        uid, gid, home = _number(user, named), 0, ""
    if colon and group:
        gid = _group(group, read, named)
    return GuestUser(uid, gid, home if home.startswith("/") else "/")


def _group(group: str, read: Callable[[str], str], named: str) -> int:
    known = next((fields for fields in _records(read("etc/group"), 3) if fields[0] == group), None)
    return _number(known[2] if known is not None else group, named)


def _records(text: str, least: int) -> Iterator[list[str]]:
    return (fields for line in text.splitlines() if len(fields := line.split(":")) >= least)


def _number(text: str, named: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > bounds.MAX_ID:
        raise ImageImportFailed(
            f"the image runs as {named[:100]!r}, a user or group that it does not have; name one with --user"
        )
    return int(text)
