"""Reads a kernel's file: its version, how it can be booted, and the configuration that it may carry.

Sources: the kernel's init/version-timestamp.c (banner), kernel/configs.c and
scripts/extract-ikconfig (the marks around the packed configuration), and
include/xen/interface/elfnote.h (the note by which a VMM finds the entry of a PVH boot).
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emberbox.errors import ImageImportFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,120}) ")
_CONFIG_BEGIN, _CONFIG_END = b"IKCFG_ST", b"IKCFG_ED"
_CONFIG_BYTES = 8 * 1024 * 1024
_CONFIG_LINE = re.compile(r"(?m)^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_MACHINES = {62: "amd64", 183: "arm64"}
_NOTES = 4
_MOST_SEGMENTS = 64
_NOTE_BYTES = 65_536
_PVH_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY
_ARM_MAGIC = b"ARM\x64"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """What is known of a kernel.

    Args:
        version: As `uname -r` tells it.
        architecture: `amd64` or `arm64`.
        pvh: Whether it has the entry by which QEMU boots an unpacked kernel on x86.
        config: Its options by name; None where it tells none.
        content: Its bytes, in which marks are looked for where there is no configuration.
    """

    version: str
    architecture: str
    pvh: bool
    config: Mapping[str, str] | None
    content: bytes | mmap.mmap = field(repr=False)

    def holds(self, mark: bytes) -> bool:
        """Tell whether the kernel's bytes hold `mark`."""
        return self.content.find(mark) >= 0


def read_facts(vmlinux: Path) -> KernelFacts:
    """Look into an unpacked kernel. Blocks for some tenths of a second.

    Args:
        vmlinux: ELF on amd64, Image on arm64.

    Raises:
        ImageImportFailed: It is no kernel of Linux, or of no architecture that is known.
    """
    with vmlinux.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ImageImportFailed("the kernel file is empty") from error
    banner = _BANNER.search(content)
    if banner is None:
        raise ImageImportFailed(
            "the file holds no kernel of Linux: it does not say 'Linux version …' anywhere"
        )
    own = embedded_config(content)
    return KernelFacts(
        version=banner[1].decode("ascii"),
        architecture=_architecture(content),
        pvh=has_pvh_entry(content),
        config=None if own is None else parse_config(own),
        content=content,
    )


def embedded_config(content: bytes | mmap.mmap) -> str | None:
    """Return the configuration in a kernel or in its module `configs` (CONFIG_IKCONFIG), or None."""
    begin = content.find(_CONFIG_BEGIN + b"\x1f\x8b")
    end = content.find(_CONFIG_END, begin)
    if begin < 0 or end < 0:
        return None
    try:
        text = zlib.decompressobj(_GZIP_WINDOW).decompress(
            content[begin + len(_CONFIG_BEGIN) : end], _CONFIG_BYTES
        )
    except zlib.error:
        return None
    return text.decode("utf-8", "replace")


def parse_config(text: str) -> dict[str, str]:
    """Return the options of a kernel's configuration by name; `n` for those that it says are not set."""
    return {set_ or unset: value if set_ else "n" for set_, value, unset in _CONFIG_LINE.findall(text)}


def _architecture(content: bytes | mmap.mmap) -> str:
    if content[0x38:0x3C] == _ARM_MAGIC:
        return "arm64"
    if content[:6] != b"\x7fELF\x02\x01":
        raise ImageImportFailed("the kernel file is neither a 64-bit ELF file nor an Image for ARM")
    (machine,) = struct.unpack_from("<H", content, 18)
    if machine not in _MACHINES:
        raise ImageImportFailed(
            f"the kernel is for a processor that is not known here (ELF machine {machine})"
        )
    return _MACHINES[machine]


def has_pvh_entry(content: bytes | mmap.mmap) -> bool:
    """Tell whether an ELF file has the note by which a VMM finds the entry of a PVH boot."""
    return content[:4] == b"\x7fELF" and any(
        name == b"Xen\0" and kind == _PVH_ENTRY for name, kind in _notes(content)
    )


def _notes(content: bytes | mmap.mmap) -> Iterator[tuple[bytes, int]]:
    """Go through the ELF notes of a file's segments; a broken table ends it."""
    try:
        (table,) = struct.unpack_from("<Q", content, 32)
        size, count = struct.unpack_from("<HH", content, 54)
        for index in range(min(count, _MOST_SEGMENTS)):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", content, table + index * size)
            if kind == _NOTES:
                yield from _notes_in(content[offset : offset + min(length, _NOTE_BYTES)])
    except (struct.error, OverflowError):  # an offset beyond the file, or beyond all files
        return


def _notes_in(segment: bytes) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at + 12 <= len(segment):
        name_bytes, value_bytes, kind = struct.unpack_from("<III", segment, at)
        yield segment[at + 12 : at + 12 + name_bytes], kind
        at += 12 + (name_bytes + 3) // 4 * 4 + (value_bytes + 3) // 4 * 4
