"""Files that are kernels as far as can be seen from outside."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

from emberbox.images.kernels import needs as kernel_needs
from emberbox.images.kernels.needs import Need
from tests.unit.images.kernels.test_modules import module

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "6.12.9-own"
NEEDS = [need for need in vars(kernel_needs).values() if isinstance(need, Need)]
PLAIN = tuple(
    need for need in NEEDS if need not in (kernel_needs.PVM, kernel_needs.PCI, kernel_needs.MMIO_BY_NAME)
)
"""What an ordinary kernel has that serves all drivers."""


def config(*, modules: tuple[Need, ...] = (), without: tuple[Need, ...] = (), extra: str = "") -> str:
    """Return a configuration with all of `PLAIN`, but for what is a module or left out."""
    lines = [
        f"CONFIG_{need.option}={'m' if need in modules else 'y'}" for need in PLAIN if need not in without
    ]
    return "\n".join(
        ["# Linux/x86 6.12.9 Kernel Configuration", *lines, "# CONFIG_KASAN is not set", extra, ""]
    )


def vmlinux(
    *,
    version: str = VERSION,
    pvh: bool = True,
    machine: int = 62,
    embedded: str | None = None,
    marks: tuple[Need, ...] = (),
) -> bytes:
    """Return an ELF file with a kernel's banner, its notes, and its packed configuration."""
    note = struct.pack("<III", 4, 4, 18 if pvh else 1) + b"Xen\0" + bytes(4)
    body = b"\0".join(
        [
            b"Linux version " + version.encode() + b" (own@host) #1 SMP",
            *(need.mark.strip(b"\0") for need in marks),
            b"",
        ]
    )
    if embedded is not None:
        body += b"IKCFG_ST" + gzip.compress(embedded.encode(), mtime=0) + b"IKCFG_ED"
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<HH", header, 16, 2, machine)
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 1)
    segment = struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(note), len(note), 4)
    return bytes(header) + segment + note + body


def modules_folder(folder: Path, *names: str, version: str = VERSION, built_in: tuple[str, ...] = ()) -> Path:
    """Make a folder of modules below `folder`, as `make modules_install` does."""
    place = folder / "lib/modules" / version / "kernel"
    place.mkdir(parents=True)
    for name in names:
        (place / f"{name}.ko").write_bytes(module("", version=version))
    (place.parent / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in built_in))
    return folder
