"""Finds the kernel proper inside the files that distributions ship.

Sources: the kernel's Documentation/arch/x86/boot.rst (fields `setup_sects`, `payload_offset`,
`payload_length`) and Documentation/arch/arm64/booting.rst (magic at 0x38).
"""

from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from emberbox.errors import ImageBuildFailed

Compression = Literal["none", "gzip", "xz", "lzma", "zstd", "lz4"]

_MAGICS: tuple[tuple[bytes, Compression], ...] = (
    (b"\x7fELF", "none"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x02\x21\x4c\x18", "lz4"),
)
_SIZE_SUFFIX = 4
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Payload:
    """A packed kernel: how it is packed, and its bytes without what the build appended."""

    compression: Compression
    data: bytes


def find_payload(image: bytes) -> Payload:
    """Return what is packed inside a bzImage, an EFI zboot image or a plain kernel file.

    Raises:
        ImageBuildFailed: The file is none of these, or packed in a way that is not known.
    """
    if image[:4] == b"\x7fELF" or image[0x38:0x3C] == b"ARM\x64":
        return Payload("none", image)
    if image[:2] == b"\x1f\x8b":
        return Payload("gzip", image)
    if image[:2] == b"MZ" and image[4:8] == b"zimg":
        offset, length = struct.unpack_from("<II", image, 8)
        return _payload(image[offset : offset + length], length)
    return _from_bzimage(image)


def unpack_here(payload: Payload) -> bytes | None:
    """Unpack what Python can unpack; None for formats that need a program (`lz4`, `zstd`).

    Raises:
        ImageBuildFailed: It is broken, or cut short.
    """
    try:
        match payload.compression:
            case "none":
                return payload.data
            case "gzip":
                return _gunzip(payload.data)
            case "xz" | "lzma":
                return lzma.LZMADecompressor().decompress(payload.data)
            case _:
                return None
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise ImageBuildFailed(
            "the kernel file cannot be unpacked; get it again", detail=str(error)
        ) from error


def _gunzip(data: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    unpacked = stream.decompress(data)
    if not stream.eof:
        raise EOFError("the packed kernel ends too early")
    return unpacked


def _from_bzimage(image: bytes) -> Payload:
    if len(image) < 0x260 or image[0x202:0x206] != b"HdrS":
        raise ImageBuildFailed("the kernel file is of an unknown kind: neither bzImage, zboot nor ELF")
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < 0x0208:
        raise ImageBuildFailed(
            f"the kernel's boot protocol {version:#06x} is too old; 0x0208 or later is needed"
        )
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return _payload(image[start : start + length], length)


def _payload(data: bytes, length: int) -> Payload:
    if len(data) != length or length < 16:
        raise ImageBuildFailed("the kernel file is cut short; get it again")
    for magic, compression in _MAGICS:
        if data.startswith(magic):
            # The kernel's build appends the unpacked size to formats that do not hold it; decoders
            # choke on it.
            appended = _SIZE_SUFFIX if compression in {"lz4", "zstd", "xz", "lzma"} else 0
            return Payload(compression, data[: len(data) - appended])
    raise ImageBuildFailed(f"the kernel is packed in an unknown format (it starts with {data[:6].hex()})")
