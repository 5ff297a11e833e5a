"""Lets QEMU save and load a vhost-user vsock device.

QEMU 7.2 marks its `vhost-user-vsock` as not migratable, though all there is to save is what its
`vhost-vsock` saves as well: both are one implementation (hw/virtio/vhost-vsock-common.c), and this
back-end keeps nothing that would have to move along. So the description of the one's state is laid
over the other's, in the memory of a running QEMU.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

_TARGET = b"\0vhost-user-vsock\0"
_SOURCE = b"\0virtio-vhost_vsock\0"
_DESCRIPTION = struct.Struct("<Q4I6Q2Q")
"""struct VMStateDescription (include/migration/vmstate.h): the name, four numbers, six functions,
fields, subsections."""
_POINTER = 8


class NotRecognized(Exception):
    """This QEMU is built otherwise than is known here, so nothing was changed."""


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    data: bytes


def make_migratable(pid: int) -> None:
    """Have a QEMU, which is this process's child, save and load its vsock device. Needed once, before either.

    Repeating is harmless. Takes some 20 ms.

    Raises:
        NotRecognized: It is another QEMU than is known here.
        OSError: Its memory may not be changed, or it is gone.
    """
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        pieces = _pieces(pid, descriptor)
        target, old = _description(pieces, _TARGET)
        _, source = _description(pieces, _SOURCE)
        if not _complete(source):
            raise NotRecognized("QEMU's vhost-vsock does not say how it is saved")
        if _complete(old):
            return
        if old[1] != 1 or any(old[2:]):
            raise NotRecognized("QEMU's vhost-user-vsock is not merely marked as not migratable")
        os.pwrite(descriptor, _DESCRIPTION.pack(old[0], *source[1:]), target)
    finally:
        os.close(descriptor)


def _complete(description: tuple[int, ...]) -> bool:
    fields = description[11]
    return description[1] == 0 and fields != 0


def _pieces(pid: int, descriptor: int) -> list[_Piece]:
    """Read what QEMU has mapped of its own program and may not execute: texts and tables."""
    program = Path(f"/proc/{pid}/exe").readlink()
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, _, _, _, *name = line.split(maxsplit=5)
        if name == [str(program)] and "x" not in rights and "r" in rights:
            start, end = (int(text, 16) for text in span.split("-"))
            found.append(_Piece(start, os.pread(descriptor, end - start, start)))
    return found


def _description(pieces: list[_Piece], name: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the one description of that name, whose table begins with a pointer to it: place, content."""
    found = {}
    for text in _places(pieces, name, 1):
        for place in _places(pieces, (text + 1).to_bytes(_POINTER, "little"), _POINTER):
            content = _read(pieces, place)
            if content is not None and content[1] in (0, 1) and max(content[2:5]) < 1000:
                found[place] = content
    if len(found) != 1:
        raise NotRecognized(
            f"QEMU has {len(found)} descriptions of a state named {name.strip(bytes(1)).decode()}"
        )
    return found.popitem()


def _places(pieces: list[_Piece], wanted: bytes, alignment: int) -> list[int]:
    places = []
    for piece in pieces:
        at = piece.data.find(wanted)
        while at >= 0:
            if (piece.start + at) % alignment == 0:
                places.append(piece.start + at)
            at = piece.data.find(wanted, at + 1)
    return places


def _read(pieces: list[_Piece], place: int) -> tuple[int, ...] | None:
    for piece in pieces:
        at = place - piece.start
        if 0 <= at <= len(piece.data) - _DESCRIPTION.size:
            return _DESCRIPTION.unpack_from(piece.data, at)
    return None
