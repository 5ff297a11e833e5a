"""Zip archives for tests, good and bad, built byte by byte where the library refuses to."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_zip(files: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of files by name; names that end with a slash are folders."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def zip_entry(name: str, data: bytes = b"", *, mode: int = 0o100644, **fields: int) -> bytes:
    """A zip archive of one entry with a Unix mode, and with fields of its description set."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, data)
        for field, value in fields.items():
            setattr(info, field, value)
    return target.getvalue()


def raw_zip(name: bytes, data: bytes, *, flags: int = 0, count: int = 1, stated: int | None = None) -> bytes:
    """A zip archive whose directory lists the same bytes several times, with any name and any size."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packed.compress(data) + packed.flush()
    sizes = struct.pack("<III", zlib.crc32(data), len(body), len(data) if stated is None else stated)
    local = (
        b"PK\3\4"
        + struct.pack("<HHHHH", 20, flags, 8, 0, 0)
        + sizes
        + struct.pack("<HH", len(name), 0)
        + name
    )
    central = bytearray()
    for number in range(count):
        numbered = name if count == 1 else name[:-4] + b"%04d" % number
        central += b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, flags, 8, 0, 0) + sizes
        central += struct.pack("<HHHHHII", len(numbered), 0, 0, 0, 0, 0, 0) + numbered
    end = b"PK\5\6" + struct.pack(
        "<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(central), len(local) + len(body), 0
    )
    return local + body + bytes(central) + end
