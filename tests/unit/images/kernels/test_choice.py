"""Which kernel images get, and that images follow a change of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageImportFailed
from emberbox.images import ImageStore
from emberbox.images import build as building
from emberbox.images.kernels.own import look_into
from tests.unit.images.kernels.kernels import config, modules_folder, vmlinux
from tests.unit.images.test_store import Builders, Toy, builders, make_store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["builders"]


def own_store(tmp_path: Path, kernel: Path | str | None, modules: Path | None = None) -> ImageStore:
    make_store(tmp_path)
    agent = tmp_path / "agent"
    return ImageStore(tmp_path / "images", architecture="amd64", agent=agent, kernel=kernel, modules=modules)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were looked into."""
    seen: list[str] = []

    async def counted(file: Path, modules: Path | None, architecture: str, folder: Path) -> object:
        seen.append(file.name)
        return await look_into(file, modules, architecture, folder)

    monkeypatch.setattr(building, "look_into", counted)
    return seen


def kernel_file(tmp_path: Path, extra: str = "") -> Path:
    file = tmp_path / "vmlinux-own"
    file.write_bytes(vmlinux(embedded=config(extra=extra)))
    return file


async def test_images_follow_the_kernel_that_was_taken(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    debian = await images.build(Toy())
    part = await images.import_kernel(kernel_file(tmp_path))
    assert images.find(Toy()) == debian, "importing alone changes nothing"
    images.take_kernel(part)
    assert images.find(Toy()) is None
    own = await make_store(tmp_path).build(Toy())
    assert own.kernel.read_bytes()[:4] == b"\x7fELF"
    assert own.key != debian.key
    assert own.rootfs == debian.rootfs, "the root file system does not depend on the kernel"
    inputs = images.inspect("toy").inputs
    assert (inputs["kernel_package"], inputs["kernel_version"]) == ("own", "6.12.9-own")
    images.take_kernel(None)
    assert images.find(Toy()) == debian
    assert builders.calls == ["kernel", "rootfs"]


async def test_the_image_of_the_kernel_in_use_is_kept_though_another_is_newer(
    tmp_path: Path, builders: Builders
) -> None:
    images = make_store(tmp_path)
    debian = await images.build(Toy())
    images.take_kernel(await images.import_kernel(kernel_file(tmp_path)))
    own = await images.build(Toy())
    images.take_kernel(None)
    assert images.inspect("toy").image == debian
    assert images.prune(dry_run=True).images == (own.key,)
    images.take_kernel(await images.import_kernel(kernel_file(tmp_path)))
    assert images.prune().images == (debian.key,)
    assert images.find(Toy()) == own


async def test_a_kernel_that_was_taken_is_not_pruned_before_its_first_image(
    tmp_path: Path, builders: Builders
) -> None:
    images = make_store(tmp_path)
    images.take_kernel(await images.import_kernel(kernel_file(tmp_path)))
    images.prune()
    assert await make_store(tmp_path).prepare_kernel() is not None


async def test_a_named_kernel_is_looked_into_once_and_again_when_it_changes(
    tmp_path: Path, builders: Builders, looks: list[str]
) -> None:
    file = kernel_file(tmp_path)
    first = await own_store(tmp_path, file).build(Toy())
    assert own_store(tmp_path, file).find(Toy()) == first
    assert await own_store(tmp_path, file).prepare_kernel() is not None
    assert looks == ["vmlinux-own"]
    kernel_file(tmp_path, extra="CONFIG_MORE=y")
    changed = own_store(tmp_path, file)
    assert changed.own_kernel is None
    assert changed.find(Toy()) is None
    assert (await changed.build(Toy())).key != first.key
    assert looks == ["vmlinux-own"] * 2


async def test_a_change_of_a_module_is_seen(tmp_path: Path, builders: Builders, looks: list[str]) -> None:
    modules = modules_folder(tmp_path / "m", "virtio_net", "irrelevant")
    file = kernel_file(tmp_path)
    first = await own_store(tmp_path, file, modules).build(Toy())
    os.utime(next(modules.rglob("irrelevant.ko")), ns=(1, 1))
    assert own_store(tmp_path, file, modules).find(Toy()) == first
    net = next(modules.rglob("virtio_net.ko"))
    net.write_bytes(net.read_bytes() + b"changed")
    second = await own_store(tmp_path, file, modules).build(Toy())
    assert second.key != first.key
    assert second.initramfs != first.initramfs
    assert len(looks) == 2


async def test_the_setting_wins_over_what_was_taken(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    debian = await images.build(Toy())
    images.take_kernel(await images.import_kernel(kernel_file(tmp_path)))
    assert own_store(tmp_path, "debian").find(Toy()) == debian
    other = tmp_path / "vmlinux-other"
    other.write_bytes(vmlinux(embedded=config(), version="6.99"))
    assert (await own_store(tmp_path, other).prepare_kernel()).about["version"] == "6.99"  # type: ignore[union-attr]


async def test_a_refused_kernel_leaves_the_store_as_it_was(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    bad = tmp_path / "vmlinux-bad"
    bad.write_bytes(vmlinux(embedded="CONFIG_X=y\n"))
    with pytest.raises(ImageImportFailed, match="cannot run guests on any driver"):
        await images.import_kernel(bad)
    assert not (tmp_path / "images/parts/kernel").exists()
    assert list((tmp_path / "images/building").iterdir()) == []
    with pytest.raises(ImageImportFailed):
        await own_store(tmp_path, bad).build(Toy())
    assert builders.calls == []


async def test_a_taken_kernel_that_is_lost_is_told(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    part = await images.import_kernel(kernel_file(tmp_path))
    images.take_kernel(part)
    (tmp_path / f"images/parts/kernel/{part.key}.json").unlink()
    with pytest.raises(ImageImportFailed, match="take it again: emberbox setup --kernel FILE"):
        await images.build(Toy())


async def test_a_release_that_takes_more_modules_takes_the_kernel_again(
    tmp_path: Path, builders: Builders, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = modules_folder(tmp_path / "m", "virtio_net", "wanted_later")
    file = kernel_file(tmp_path)
    first = await own_store(tmp_path, file, modules).build(Toy())
    images = make_store(tmp_path)
    images.take_kernel(await images.import_kernel(file, modules))
    monkeypatch.setattr("emberbox.images.kernels.modules.WANTED_OF_OWN", ("virtio_net", "wanted_later"))
    monkeypatch.setattr("emberbox.images.kernels.wanted.WANTED_OF_OWN", ("virtio_net", "wanted_later"))
    with pytest.raises(ImageImportFailed, match="was taken by another release; take it again"):
        await images.build(Toy())
    assert (await own_store(tmp_path, file, modules).build(Toy())).initramfs != first.initramfs
    assert len(looks) == 3
