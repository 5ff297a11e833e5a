"""A firmware of the tests' own: 64 KiB that QEMU starts in place of its own by `-bios`.

It runs on any KVM, also on one that can run no ordinary kernel, since it needs a handful of
instructions. A processor begins at the last 16 bytes of it, in real mode (Intel's manual,
volume 3, "First Instruction Executed").
"""

from __future__ import annotations

import struct

SIZE = 65_536
SERIAL = 0x3F8
LETTERS = b"abcdefghij"
_RESET = SIZE - 16
_HALT = b"\xf4\xeb\xfd"  # 1: hlt; jmp 1b


def one_byte(letter: bytes, port: int = SERIAL) -> bytes:
    """Return a firmware that writes one byte to a port, and halts."""
    return _image(_output(letter, port) + _HALT)


def letters(port: int = SERIAL, pause: int = 1000) -> bytes:
    """Return a firmware that writes `LETTERS` to a port, over and over.

    The machine's memory keeps which letter is next.

    Args:
        port: Where to.
        pause: Times a loop of two instructions runs between two letters.
    """
    load_next = b"\xa0\x00\x05"  # mov al, [0x500]
    step = (
        b"\xfe\xc0\x3c" + bytes([len(LETTERS)]) + b"\x72\x02\x30\xc0"
    )  # inc al; cmp al, N; jb 1f; xor al, al; 1:
    keep = b"\xa2\x00\x05"  # mov [0x500], al
    write = (
        b"\x04" + LETTERS[:1] + b"\xba" + struct.pack("<H", port) + b"\xee"
    )  # add al, 'a'; mov dx, port; out dx, al
    wait = b"\x66\xb9" + struct.pack("<I", pause) + b"\x66\x49\x75\xfc"  # mov ecx, pause; 1: dec ecx; jnz 1b
    body = load_next + step + keep + write + wait
    begin = b"\x31\xc0\x8e\xd8"  # xor ax, ax; mov ds, ax
    back = b"\xeb" + struct.pack("<b", -(len(body) + 2))  # jmp to the begin of the body
    return _image(begin + body + back)


def _output(letter: bytes, port: int) -> bytes:
    return (
        b"\xb0" + letter + b"\xba" + struct.pack("<H", port) + b"\xee"
    )  # mov al, letter; mov dx, port; out dx, al


def _image(code: bytes) -> bytes:
    image = bytearray(b"\xf4" * SIZE)
    image[: len(code)] = code
    image[_RESET : _RESET + 3] = b"\xe9" + struct.pack("<H", -(_RESET + 3) % SIZE)  # jmp to the image's begin
    return bytes(image)
