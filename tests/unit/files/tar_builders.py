"""Tar archives for tests, good and bad, built byte by byte where the library refuses to."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_tar(files: Mapping[str, bytes], *, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of files by name; `mode` may be `w:gz`."""
    return tar_of(*((tar_info(name), data) for name, data in files.items()), mode=mode, form=form)


def tar_info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """A header with fields set."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of headers and their bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for info, data in entries:
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data) if data else None)
    return target.getvalue()


def raw_header(name: bytes, kind: bytes, size: int) -> bytes:
    """One tar header with the right sum, of any name, kind and size."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = b"%011o\0" % size if size >= 0 else b"\xff" * 12
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
