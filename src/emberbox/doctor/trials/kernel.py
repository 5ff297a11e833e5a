"""A kernel of a few instructions.

It writes two letters to the serial port for ever, and so shows that guest code runs.

For x86 it is an ELF file that VMMs start by its PVH note or at its entry; the code means the same in
32-bit and in 64-bit mode. For arm64 it is an image with Linux's header.

Sources: the kernel's Documentation/arch/x86/boot (64-bit protocol) and
Documentation/arch/arm64/booting; Xen's public/elfnote.h for the note.
"""

from __future__ import annotations

import struct

WORD = b"eb"
"""What it writes, again and again."""
_ADDRESS = 0x100000
_PAGE = 4096
_CODE_AT = 0x200
_NOTE_AT = 0x100
_PVH_ENTRY = 18


def kernel_image(architecture: str, serial: int) -> bytes:
    """Return the file to boot.

    Args:
        architecture: As `platform.machine` names it: `x86_64` or `aarch64`.
        serial: Where the VMM that is to boot it has the serial port of arm64.
    """
    return _arm64(serial) if architecture == "aarch64" else _x86()


def _x86() -> bytes:
    # mov dx, 0x3f8; 1: mov al, 'e'; out dx, al; mov al, 'b'; out dx, al; jmp 1b
    code = (
        b"\x66\xba\xf8\x03" + b"".join(b"\xb0" + bytes([letter]) + b"\xee" for letter in WORD) + b"\xeb\xf8"
    )
    entry = _ADDRESS + _CODE_AT
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    )
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, _ADDRESS, _ADDRESS, _PAGE, _PAGE, _PAGE)
    note = struct.pack("<III", 4, 8, _PVH_ENTRY) + b"Xen\0" + struct.pack("<Q", entry)
    noted = struct.pack(
        "<IIQQQQQQ", 4, 4, _NOTE_AT, _ADDRESS + _NOTE_AT, _ADDRESS + _NOTE_AT, len(note), len(note), 4
    )
    image = bytearray(_PAGE)
    for place, piece in ((0, header + load + noted), (_NOTE_AT, note), (_CODE_AT, code)):
        image[place : place + len(piece)] = piece
    return bytes(image)


def _arm64(serial: int) -> bytes:
    low, high = serial & 0xFFFF, serial >> 16
    words = [0xD2A00000 | high << 5, 0xF2800000 | low << 5]  # movz x0, high, lsl 16; movk x0, low
    for letter in WORD:
        words += [0x52800001 | letter << 5, 0x39000001]  # mov w1, letter; strb w1, [x0]
    words.append(0x17FFFFFC)  # b back to the first letter
    # The first word branches over the header of 64 bytes.
    header = struct.pack("<IIQQQQQQII", 0x14000010, 0, 0, _PAGE, 0, 0, 0, 0, 0x644D5241, 0)
    return (header + struct.pack(f"<{len(words)}I", *words)).ljust(_PAGE, b"\0")
