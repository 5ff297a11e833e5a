from __future__ import annotations

import gzip
import lzma
import struct

import pytest

from emberbox.errors import ImageBuildFailed
from emberbox.images.kernels.bzimage import find_payload, unpack_here

ELF = b"\x7fELF" + bytes(range(256)) * 20


def bzimage(payload: bytes, *, version: int = 0x020F, cut: int = 0) -> bytes:
    setup_sectors, offset = 3, 0x40
    image = bytearray((setup_sectors + 1) * 512 + offset)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<II", image, 0x248, offset, len(payload))
    whole = bytes(image) + payload
    return whole[: len(whole) - cut] if cut else whole + b"signature"


def sized(packed: bytes) -> bytes:
    return packed + struct.pack("<I", len(ELF))


@pytest.mark.parametrize(
    ("payload", "compression"),
    [
        (ELF, "none"),
        (gzip.compress(ELF), "gzip"),
        (sized(lzma.compress(ELF)), "xz"),
        (sized(lzma.compress(ELF, lzma.FORMAT_ALONE)), "lzma"),
    ],
)
def test_what_python_unpacks(payload: bytes, compression: str) -> None:
    found = find_payload(bzimage(payload))
    assert found.compression == compression
    assert unpack_here(found) == ELF


@pytest.mark.parametrize(
    ("magic", "compression"), [(b"\x02\x21\x4c\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_what_a_program_unpacks_loses_the_appended_size(magic: bytes, compression: str) -> None:
    found = find_payload(bzimage(sized(magic + b"x" * 100)))
    assert (found.compression, found.data) == (compression, magic + b"x" * 100)
    assert unpack_here(found) is None


def test_arm_kernels() -> None:
    image = b"\0" * 0x38 + b"ARM\x64" + b"code" * 10
    assert unpack_here(find_payload(image)) == image
    assert unpack_here(find_payload(gzip.compress(image))) == image
    packed = gzip.compress(image)
    zboot = b"MZ\0\0zimg" + struct.pack("<II", 64, len(packed)) + bytes(48) + packed + b"rest"
    assert unpack_here(find_payload(zboot)) == image


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (b"", "unknown kind"),
        (b"text" * 1000, "unknown kind"),
        (bzimage(ELF, version=0x0204), "too old"),
        (bzimage(ELF, cut=10), "cut short"),
        (bzimage(b"??????????????????"), "unknown format"),
    ],
)
def test_anything_else_is_refused(image: bytes, part: str) -> None:
    with pytest.raises(ImageBuildFailed, match=part):
        find_payload(image)
