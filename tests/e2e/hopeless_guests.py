"""Kernels and first programs of the tests' own making that come to nothing, each in its own way.

Each has a few bytes. Sources: the ELF specification; the PVH boot protocol (Xen's
docs/misc/pvh.pandoc) by whose note QEMU and Firecracker find the entry.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from emberbox.images.rootfs import cpio

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01\x01" + bytes(9)
_X86_64 = 62
_PHYS32_ENTRY = 18
SPIN = b"\xeb\xfe"
"""jmp itself"""
HALT = b"\xfa\xf4\xeb\xfd"
"""cli; hlt; jmp to hlt"""
EXIT = b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05"
"""exit(0) of Linux on x86-64"""


def kernel(folder: Path, code: bytes) -> Path:
    """Write a kernel that is nothing but `code`, run in 32-bit mode; returns its file."""
    base, entry, first = 0x100000, 0x1000, 64 + 2 * 56
    note = struct.pack("<III", 4, 4, _PHYS32_ENTRY) + b"Xen\0" + struct.pack("<I", base + entry)
    header = _header(base + entry, 2)
    header += _segment(1, 5, entry, base + entry, len(code)) + _segment(4, 4, first, base + first, len(note))
    path = folder / "kernel"
    path.write_bytes((header + note).ljust(entry, b"\0") + code)
    return path


def initramfs(folder: Path, code: bytes | None) -> Path:
    """Write an initramfs whose /init is nothing but `code`, or that has none; returns its file."""
    entries = [cpio.folder("dev"), cpio.character_device("dev/console", 5, 1)]
    if code is not None:
        base, start = 0x400000, 64 + 56
        program = _header(base + start, 1) + _segment(1, 5, 0, base, start + len(code)) + code
        entries.append(cpio.file("init", program, 0o755))
    path = folder / "initramfs"
    path.write_bytes(cpio.write_cpio(entries))
    return path


def _header(entry: int, segments: int) -> bytes:
    return _MAGIC + struct.pack("<HHIQQQIHHHHHH", 2, _X86_64, 1, entry, 64, 0, 0, 64, 56, segments, 0, 0, 0)


def _segment(kind: int, flags: int, offset: int, address: int, size: int) -> bytes:
    return struct.pack(
        "<IIQQQQQQ", kind, flags, offset, address, address, size, size, 4 if kind == 4 else 0x1000
    )
