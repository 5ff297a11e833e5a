from __future__ import annotations

import lzma
import struct
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageBuildFailed
from emberbox.images.kernels.module import module_depends
from emberbox.images.kernels.modules import choose_modules, guest_modules
from emberbox.images.kernels.wanted import OFFERED_ON_VSOCK, WANTED, WANTED_ON_VSOCK

if TYPE_CHECKING:
    from pathlib import Path


def module(depends: str, *, version: str | None = None) -> bytes:
    """Return the smallest ELF file with a .modinfo section."""
    info = b"license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
    if version is not None:
        info += b"vermagic=" + version.encode() + b" SMP preempt\0"
    names = b"\0.modinfo\0.shstrtab\0"
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    table = 64 + len(info) + len(names)
    struct.pack_into("<Q", header, 0x28, table)
    struct.pack_into("<HHH", header, 0x3A, 64, 3, 2)
    sections = [
        struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(info), 0, 0, 1, 0),
        struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0),
    ]
    return bytes(header) + info + names + b"".join(sections)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "kernel" / "drivers"
    place.mkdir(parents=True)
    files = {
        "virtio": "virtio_ring",
        "virtio_ring": "",
        "virtio_mmio": "virtio_ring,virtio",
        "virtio-rng": "virtio",
        "loop_a": "loop_b",
        "loop_b": "loop_a",
    }
    for name, depends in files.items():
        (place / f"{name}.ko").write_bytes(module(depends))
    (place / "packed.ko.xz").write_bytes(lzma.compress(module("virtio")))
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio-thing.ko\n")
    return tmp_path


def test_depends_are_read_from_the_module() -> None:
    assert module_depends(module("virtio-rng,b")) == ("virtio_rng", "b")
    assert module_depends(module("")) == ()
    with pytest.raises(ValueError, match="ELF"):
        module_depends(b"text")


def test_needed_modules_come_first(folder: Path) -> None:
    names = [chosen.name for chosen in choose_modules(folder, ["virtio_mmio", "virtio_rng", "packed"])]
    assert sorted(names) == ["packed", "virtio", "virtio_mmio", "virtio_ring", "virtio_rng"]
    assert (
        names.index("virtio_ring")
        < names.index("virtio")
        < min(names.index(name) for name in ("virtio_mmio", "virtio_rng", "packed"))
    )
    assert [
        chosen.name for chosen in choose_modules(folder, ["virtio_mmio", "virtio_rng", "packed"])
    ] == names


def test_packed_modules_are_unpacked(folder: Path) -> None:
    assert choose_modules(folder, ["packed"])[-1].data == module("virtio")


def test_built_in_ones_are_left_out(folder: Path) -> None:
    assert choose_modules(folder, ["ext4", "virtio_thing"]) == ()


def test_missing_and_circular_ones_are_told(folder: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="no module 'gone'"):
        choose_modules(folder, ["gone"])
    with pytest.raises(ImageBuildFailed, match="circle"):
        choose_modules(folder, ["loop_a"])
    (folder / "kernel" / "bad.ko").write_bytes(b"\x7fELF\x02\x01 short")
    with pytest.raises(ImageBuildFailed, match=r"bad\.ko"):
        choose_modules(folder, ["bad"])


@pytest.mark.parametrize("offered", [True, False], ids=["with virtio_mem", "without"])
def test_what_only_the_vsock_channel_needs_comes_last_and_is_marked(tmp_path: Path, offered: bool) -> None:
    depends = dict.fromkeys((*WANTED, *WANTED_ON_VSOCK), "virtio") | dict.fromkeys(
        OFFERED_ON_VSOCK if offered else (), "virtio"
    )
    depends |= {"virtio": "", "vmw_vsock_virtio_transport": "vsock,virtio", "vsock": ""}
    for name, needed in depends.items():
        (tmp_path / f"{name}.ko").write_bytes(module(needed))
    chosen = guest_modules(tmp_path)
    always = [one.name for one in chosen if not one.vsock_only]
    assert sorted(always) == sorted({*WANTED, "virtio"}) and always[0] == "virtio"
    rest = ["vsock", *WANTED_ON_VSOCK, *(OFFERED_ON_VSOCK if offered else ())]
    assert [one.name for one in chosen] == [*always, *rest]
