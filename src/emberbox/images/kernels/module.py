"""A kernel module: its file, packed or not, and what its `.modinfo` section says."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed
from emberbox.files.paths import without_folders
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from pathlib import Path

_UNPACK_S = 60.0


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module.

    Args:
        name: Its name, without `.ko`.
        data: Its content.
        depends: Names of the modules that must go in before.
        vsock_only: True for one that only guests on the vsock channel insert.
    """

    name: str
    data: bytes
    depends: tuple[str, ...]
    vsock_only: bool = False

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.name}.ko"


def module_depends(data: bytes) -> tuple[str, ...]:
    """Return a module's `depends=` from `.modinfo`; raises `ValueError` where it is no module."""
    names = (_modinfo(data, b"depends") or b"").decode("ascii").split(",")
    return tuple(plain_name(name) for name in names if name)


def module_version(data: bytes) -> str | None:
    """Return the version of the kernel that a module was built for; None where it does not tell.

    Raises `ValueError`.
    """
    told = _modinfo(data, b"vermagic")
    return None if told is None else told.decode("ascii", "replace").partition(" ")[0]


def _modinfo(data: bytes, name: bytes) -> bytes | None:
    entries = (entry.partition(b"=") for entry in _section(data, b".modinfo").split(b"\0"))
    return next((value for key, _, value in entries if key == name), None)


def load_module(name: str, path: Path) -> Module:
    """Read a module from its file, packed or not. Raises `ImageBuildFailed`."""
    try:
        data = _unpacked(path)
        return Module(name, data, module_depends(data))
    except (
        ValueError,
        struct.error,
        OverflowError,
        IndexError,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        OSError,
    ) as error:
        raise ImageBuildFailed(
            f"the kernel module {path.name} cannot be read: {without_folders(str(error))}", detail=str(path)
        ) from error


def _unpacked(path: Path) -> bytes:
    if path.name.endswith(".zst"):
        return _unpack_zstd(path)
    data = path.read_bytes()
    if path.name.endswith(".xz"):
        return lzma.decompress(data)
    return gzip.decompress(data) if path.name.endswith(".gz") else data


def _unpack_zstd(path: Path) -> bytes:
    command = [find_program("zstd"), "-dcq", str(path)]
    try:
        return subprocess.run(command, capture_output=True, timeout=_UNPACK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageBuildFailed(
            f"the kernel module {path.name} cannot be unpacked", detail=str(error)
        ) from error


def _section(data: bytes, wanted: bytes) -> bytes:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + index * size) for index in range(count)]
    names_at = headers[names_index][4]
    for name_at, _, _, _, offset, length in headers:
        start = names_at + name_at
        if data[start : start + len(wanted) + 1] == wanted + b"\0":
            return data[offset : offset + length]
    return b""


def plain_name(name: str) -> str:
    """Return a module's name as the kernel has it: `_` for `-`."""
    return name.replace("-", "_")
