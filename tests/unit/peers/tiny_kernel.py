"""A kernel of a few bytes that halts at its first instruction.

Its guest is up at once, and never drives a device.
"""

from __future__ import annotations

import struct

_LOADED_AT = 0x100000
_HEADER, _PROGRAM_HEADER = 64, 56
_CODE = b"\xfa\xf4\xeb\xfd"  # cli; 1: hlt; jmp 1b
_PHYS32_ENTRY = 18
_NOTE, _LOAD = 4, 1
_EXECUTABLE, _X86_64 = 2, 62


def tiny_kernel() -> bytes:
    """Return an ELF file for x86-64 that a VMM enters in 32-bit mode.

    The VMM does so by a note in the file (Xen's PVH, elfnote.h).
    """
    code_at = _HEADER + 2 * _PROGRAM_HEADER
    note_at = code_at + len(_CODE)
    entry = _LOADED_AT + code_at
    note = struct.pack("<III4sI", 4, 4, _PHYS32_ENTRY, b"Xen\0", entry)
    size = note_at + len(note)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        _EXECUTABLE,
        _X86_64,
        1,
        entry,
        _HEADER,
        0,
        0,
        _HEADER,
        _PROGRAM_HEADER,
        2,
        0,
        0,
        0,
    )
    load = struct.pack("<IIQQQQQQ", _LOAD, 7, 0, _LOADED_AT, _LOADED_AT, size, size, 0x1000)
    noted = struct.pack(
        "<IIQQQQQQ", _NOTE, 4, note_at, _LOADED_AT + note_at, _LOADED_AT + note_at, len(note), len(note), 4
    )
    return header + load + noted + _CODE + note
