"""Kernels of people's own: what is read from their files, and which are refused for what."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.images.kernels import needs as kernel_needs
from emberbox.images.kernels.facts import embedded_config, has_pvh_entry, parse_config, read_facts
from emberbox.images.kernels.modules import modules_of_own
from emberbox.images.kernels.needs import Has, has, lacks_by_driver
from emberbox.images.kernels.own import OwnKernel, look_into
from tests.unit.images.kernels.kernels import NEEDS, PLAIN, VERSION, config, modules_folder, vmlinux
from tests.unit.images.kernels.test_bzimage import bzimage
from tests.unit.images.kernels.test_modules import module

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images.kernels.needs import Need


ZSTD = shutil.which("zstd") or ""


async def looked_into(
    tmp_path: Path, content: bytes, modules: Path | None = None, name: str = f"vmlinux-{VERSION}"
) -> OwnKernel:
    file = tmp_path / name
    file.write_bytes(content)
    scratch = tmp_path / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return await look_into(file, modules, "amd64", scratch)


async def test_a_whole_kernel_with_its_configuration(tmp_path: Path) -> None:
    found = await looked_into(tmp_path, bzimage(gzip.compress(vmlinux(embedded=config()))), name="bzImage")
    assert (found.name, found.version, found.configured, found.pvm) == (
        f"Linux {VERSION} (bzImage)",
        VERSION,
        True,
        False,
    )
    assert found.lacks == {"qemu": (), "firecracker": ()}
    assert found.modules == ()
    assert found.vmlinux.read_bytes()[:4] == b"\x7fELF"


async def test_pvm_s_guest_part_is_seen(tmp_path: Path) -> None:
    extra = "CONFIG_PVM_GUEST=y\nCONFIG_X86_PIE=y"
    assert (await looked_into(tmp_path, vmlinux(embedded=config(extra=extra)))).pvm
    assert not (
        await looked_into(tmp_path, vmlinux(embedded=config(extra="# CONFIG_PVM_GUEST is not set")))
    ).pvm
    unconfigured = await looked_into(tmp_path, vmlinux(marks=(*PLAIN, kernel_needs.PVM)))
    assert (unconfigured.pvm, unconfigured.configured) == (True, False)


@pytest.mark.parametrize("need", PLAIN, ids=lambda need: need.option)
def test_each_need_is_missed(need: Need, tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    for content in (
        vmlinux(embedded=config(without=(need,))),
        vmlinux(marks=tuple(other for other in PLAIN if other != need)),
    ):
        file.write_bytes(content)
        lacks = lacks_by_driver(read_facts(file), set(), set())
        hit = {driver for driver, texts in lacks.items() if any(need.option in text for text in texts)}
        only = {"VIRTIO_CONSOLE": {"qemu"}, "VIRTIO_VSOCKETS": {"firecracker"}}
        assert hit == only.get(need.option, {"qemu", "firecracker"})


def test_firecracker_finds_devices_without_acpi_too(tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(
        vmlinux(
            pvh=False,
            embedded=config(without=(kernel_needs.ACPI,), extra="CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y"),
        )
    )
    lacks = lacks_by_driver(read_facts(file), set(), set())
    assert lacks["firecracker"] == ()
    assert lacks["qemu"] == (
        "ACPI, by which devices are found (CONFIG_ACPI)",
        "the entry for PVH (CONFIG_PVH)",
    )


async def test_virtio_over_pci_alone_is_told_as_that(tmp_path: Path) -> None:
    content = vmlinux(embedded=config(without=(kernel_needs.MMIO,), extra="CONFIG_VIRTIO_PCI=y"))
    with pytest.raises(ImageImportFailed, match=r"CONFIG_VIRTIO_MMIO\), and not only over PCI"):
        await looked_into(tmp_path, content)


async def test_what_is_a_module_must_come_with_it(tmp_path: Path) -> None:
    modular = (kernel_needs.EXT4, kernel_needs.CONSOLE)
    content = vmlinux(embedded=config(modules=modular))
    with pytest.raises(ImageImportFailed, match="CONFIG_EXT4_FS, which is a module: --modules must bring it"):
        await looked_into(tmp_path, content)
    found = await looked_into(
        tmp_path, content, modules_folder(tmp_path / "m", "ext4", "virtio_console", "unrelated")
    )
    assert [module.name for module in found.modules] == ["ext4", "virtio_console"]
    assert found.lacks == {"qemu": (), "firecracker": ()}


async def test_without_a_configuration_the_modules_are_looked_at(tmp_path: Path) -> None:
    needed = [need for need in PLAIN if need.module]
    rest = tuple(need for need in PLAIN if not need.module)
    names = [str(need.module) for need in needed[1:]]
    folder = modules_folder(tmp_path / "m", *names, built_in=(str(needed[0].module),))
    found = await looked_into(tmp_path, vmlinux(marks=rest), folder)
    assert found.lacks == {"qemu": (), "firecracker": ()}
    assert {module.name for module in found.modules} == set(names)


async def test_a_configuration_that_lies_beside_it_is_read(tmp_path: Path) -> None:
    (tmp_path / f"config-{VERSION}").write_text(config(modules=(kernel_needs.OVERLAY,)))
    with pytest.raises(ImageImportFailed, match="the file system overlay"):
        await looked_into(tmp_path, vmlinux(), name=f"vmlinuz-{VERSION}")
    (tmp_path / f"config-{VERSION}").write_text(config())
    found = await looked_into(tmp_path, vmlinux(), name=f"vmlinuz-{VERSION}")
    assert found.configured
    assert tmp_path / f"config-{VERSION}" in found.sources


async def test_a_configuration_in_the_module_configs_is_read(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path / "m", "configs")
    file = next(folder.rglob("configs.ko"))
    file.write_bytes(
        module("", version=VERSION) + b"IKCFG_ST" + gzip.compress(config().encode()) + b"IKCFG_ED"
    )
    found = await looked_into(tmp_path, vmlinux(), folder)
    assert found.configured


async def test_modules_of_another_kernel_are_refused(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path / "m", "ext4", version="6.1.0-1")
    with pytest.raises(ImageImportFailed, match=r"its module ext4 was built for 6\.1\.0-1"):
        await looked_into(
            tmp_path, vmlinux(embedded=config(modules=(kernel_needs.EXT4,))), folder / "lib/modules/6.1.0-1"
        )
    with pytest.raises(ImageImportFailed, match="holds no modules; it should be lib/modules/"):
        (tmp_path / "empty").mkdir()
        await looked_into(tmp_path, vmlinux(embedded=config()), tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x7fELF\x02\x01" + bytes(200), "holds no kernel of Linux"),
        (vmlinux(machine=243, embedded=config()), "a processor that is not known here"),
        (vmlinux(machine=183, embedded=config()), "is for arm64; guests here are amd64"),
    ],
)
async def test_what_is_no_kernel_for_these_guests_is_refused(
    content: bytes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageImportFailed, match=words):
        await looked_into(tmp_path, content)


async def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="of an unknown kind"):
        await looked_into(tmp_path, b"#!/bin/sh\n" * 100)
    with pytest.raises(ImageImportFailed, match="cannot be read"):
        await look_into(tmp_path / "absent", None, "amd64", tmp_path)


async def test_the_digest_is_that_of_kernel_and_modules(tmp_path: Path) -> None:
    content = vmlinux(embedded=config())
    first = await looked_into(tmp_path, content)
    assert (await looked_into(tmp_path, content, name="renamed")).digest == first.digest
    with_modules = await looked_into(
        tmp_path, content, modules_folder(tmp_path / "m", "virtio_net", "irrelevant")
    )
    assert with_modules.digest != first.digest
    assert (await looked_into(tmp_path, vmlinux(embedded=config(extra="CONFIG_X=y")))).digest != first.digest


def test_a_configuration_is_parsed() -> None:
    text = 'CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="text # x"\n# a comment\nnonsense'
    assert parse_config(text) == {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": "n", "CONFIG_D": '"text # x"'}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"IKCFG_ST",
        b"IKCFG_ST\x1f\x8bbroken IKCFG_ED",
        b"IKCFG_ED IKCFG_ST\x1f\x8b",
        b"IKCFG_STplainIKCFG_ED",
    ],
)
def test_a_broken_configuration_is_none(content: bytes) -> None:
    assert embedded_config(content) is None


def test_a_configuration_is_bounded() -> None:
    bomb = b"IKCFG_ST" + gzip.compress(bytes(64 * 1024 * 1024)) + b"IKCFG_ED"
    found = embedded_config(bomb)
    assert found is not None
    assert len(found) == 8 * 1024 * 1024


@given(st.integers(16, 143), st.binary(max_size=120))
@example(32, b"\xff" * 8)
def test_broken_tables_of_notes_do_no_harm(at: int, garbage: bytes) -> None:
    whole = vmlinux()
    broken = whole[:at] + garbage + whole[at + len(garbage) :]
    assert has_pvh_entry(broken) or broken != whole


def test_a_table_of_notes_is_bounded() -> None:
    """65,535 segments of no size, each the whole file, would be read for hours."""
    segment = struct.pack("<IIQQQQQQ", 4, 0, 0, 0, 0, 2**62, 2**62, 4)
    header = (
        b"\x7fELF\x02\x01"
        + bytes(26)
        + struct.pack("<Q", 64)
        + bytes(14)
        + struct.pack("<HH", 0, 65_535)
        + bytes(6)
    )
    assert not has_pvh_entry(header + segment + bytes(8 * 1024 * 1024))


@given(st.binary(max_size=200))
def test_whatever_stands_for_a_configuration_does_no_harm(garbage: bytes) -> None:
    found = embedded_config(b"IKCFG_ST\x1f\x8b" + garbage + b"IKCFG_ED")
    assert found is None or isinstance(parse_config(found), dict)


@given(st.text(max_size=200))
def test_whatever_a_configuration_says_is_parsed(text: str) -> None:
    assert all(name.startswith("CONFIG_") for name in parse_config(text))


def test_marks_are_told_apart(tmp_path: Path) -> None:
    """No need's mark is part of another's, or one would be taken for both."""
    file = tmp_path / "vmlinux"
    for need in NEEDS:
        file.write_bytes(vmlinux(marks=(need,)))
        facts = read_facts(file)
        assert [other.option for other in NEEDS if has(other, facts, set(), set()) is Has.BUILT_IN] == [
            need.option
        ]


@pytest.mark.parametrize(
    "suffix", [".ko.gz", pytest.param(".ko.zst", marks=pytest.mark.skipif(not ZSTD, reason="no zstd"))]
)
def test_packed_modules_are_read(suffix: str, tmp_path: Path) -> None:
    data = module("", version=VERSION)
    packed = (
        gzip.compress(data)
        if suffix == ".ko.gz"
        else subprocess.run([ZSTD, "-c"], input=data, capture_output=True, check=True).stdout
    )
    (tmp_path / f"overlay{suffix}").write_bytes(packed)
    assert [(found.name, found.data) for found in modules_of_own(tmp_path)] == [("overlay", data)]


def test_dependencies_that_are_not_there_are_taken_for_built_in_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "virtio_blk.ko").write_bytes(module("virtio,virtio_ring"))
    assert [found.name for found in modules_of_own(tmp_path)] == ["virtio_blk"]
    (tmp_path / "modules.builtin").write_text("")
    with pytest.raises(ImageBuildFailed, match="virtio"):
        modules_of_own(tmp_path)


@pytest.mark.parametrize(
    "packed", [gzip.compress(vmlinux())[:-40], gzip.compress(vmlinux())[:20] + b"\xff" * 200]
)
async def test_a_kernel_that_is_cut_short_or_broken_is_told(packed: bytes, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="cannot be unpacked; get it again"):
        await looked_into(tmp_path, bzimage(packed))


@pytest.mark.parametrize("suffix", [".ko", ".ko.xz", ".ko.gz"])
async def test_a_module_that_is_broken_is_told(suffix: str, tmp_path: Path) -> None:
    folder = modules_folder(tmp_path / "m")
    (next(folder.rglob("kernel")) / f"overlay{suffix}").write_bytes(b"\x7fELF\x02\x01" + b"\xff" * 100)
    with pytest.raises(ImageBuildFailed, match=r"overlay.*cannot be read"):
        await looked_into(tmp_path, vmlinux(embedded=config()), folder)
