"""Writes cpio archives in the `newc` format that the kernel unpacks as its first root.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Same entries give
the same bytes.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class CpioEntry:
    """A file or folder of an archive, owned by root.

    Args:
        name: Relative path.
        mode: Type and permission bits.
        data: A file's content, a link's target.
        device: Major and minor number of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str) -> CpioEntry:
    """Return the entry of a folder."""
    return CpioEntry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> CpioEntry:
    """Return the entry of a regular file."""
    return CpioEntry(name, stat.S_IFREG | mode, data)


def character_device(name: str, major: int, minor: int) -> CpioEntry:
    """Return the entry of a character device."""
    return CpioEntry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def write_cpio(entries: Iterable[CpioEntry]) -> bytes:
    """Return the archive; entries are sorted by name, so folders come before what is in them."""
    archive = bytearray()
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.name), start=1):
        archive += _record(entry, number)
    archive += _record(CpioEntry(_TRAILER, 0), 0)
    archive += bytes(-len(archive) % 512)
    return bytes(archive)


def _record(entry: CpioEntry, number: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
