from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.images.kernels.module import Module
from emberbox.images.rootfs import cpio
from emberbox.images.rootfs.initramfs import build_initramfs, read_agent

if TYPE_CHECKING:
    from pathlib import Path


def parse(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a newc archive by its definition, independently of the writer."""
    entries: dict[str, tuple[int, bytes]] = {}
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * index : position + 14 + 8 * index], 16) for index in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[position + 110 : position + 110 + name_size - 1].decode()
        start = (position + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            assert not any(data[start:])
            return entries
        assert (fields[2], fields[3], fields[5]) == (0, 0, 0), "owner and time"
        entries[name] = (mode, data[start : start + size])
        position = (start + size + 3) & ~3


def test_entries_come_back_sorted() -> None:
    archive = cpio.write_cpio(
        [
            cpio.file("b/x", b"12345"),
            cpio.folder("b"),
            cpio.file("a", b"", 0o755),
            cpio.character_device("c", 5, 1),
        ]
    )
    assert parse(archive) == {
        "a": (0o100755, b""),
        "b": (0o040755, b""),
        "b/x": (0o100644, b"12345"),
        "c": (0o020600, b""),
    }
    assert list(parse(archive)) == ["a", "b", "b/x", "c"]


@pytest.mark.skipif(shutil.which("cpio") is None, reason="the cpio program is not installed")
def test_the_cpio_program_reads_it(tmp_path: Path) -> None:
    program = shutil.which("cpio")
    assert program is not None
    archive = cpio.write_cpio([cpio.folder("d"), cpio.file("d/f", b"hello")])
    subprocess.run([program, "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "d" / "f").read_bytes() == b"hello"


def test_initramfs_holds_agent_modules_and_their_order() -> None:
    modules = [
        Module("zeta", b"Z" * 7, ()),
        Module("alpha", b"A", ("zeta",)),
        Module("vsock", b"V", (), vsock_only=True),
    ]
    archive = build_initramfs(b"\x7fELF agent", modules)
    entries = parse(archive)
    assert entries["init"] == (0o100755, b"\x7fELF agent")
    assert entries["modules/order"][1] == b"zeta.ko\nalpha.ko\n"
    assert entries["modules/order-vsock"][1] == b"vsock.ko\n"
    assert entries["modules/zeta.ko"][1] == b"Z" * 7
    assert entries["modules/vsock.ko"][1] == b"V"
    assert archive == build_initramfs(b"\x7fELF agent", modules)
    assert archive != build_initramfs(b"\x7fELF other", modules)


def test_a_missing_agent_says_how_to_compile_it(tmp_path: Path) -> None:
    with pytest.raises(RequirementMissing, match=r"python hatch_build\.py"):
        read_agent(tmp_path / "emberbox-agent-amd64")
