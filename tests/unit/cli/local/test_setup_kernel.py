"""`emberbox setup --kernel`: what is taken, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.cli.local.setup_kernel import check_kernel, choose_kernel
from emberbox.config import ImageSettings, Settings, VmmSettings
from emberbox.errors import ImageImportFailed, InvalidInput
from emberbox.images.kernels import needs as kernel_needs
from emberbox.sandbox.kernels import guest_kernel, image_store
from emberbox.vmm.base import DriverReport
from emberbox.vmm.firecracker.kind import KIND as FIRECRACKER
from emberbox.vmm.qemu.kind import KIND as QEMU
from tests.unit.images.kernels.kernels import config, vmlinux
from tests.unit.vmm.kinds import register

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.guest_kernel import GuestKernel

TCG = DriverReport(usable=True, accelerator="tcg", version="1", reason="software emulation")


class Fake:
    name = "qemu"

    async def probe(self) -> DriverReport:
        return TCG


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("emberbox.images.store.check_requirements", lambda: None)
    monkeypatch.setattr("emberbox.images.store.BUILD_SPACE", 1)
    monkeypatch.setattr("emberbox.images.store.host_architecture", lambda: "amd64")
    qemu = replace(QEMU, make=lambda *_: Fake())  # type: ignore[arg-type]
    register(monkeypatch, firecracker=FIRECRACKER, qemu=qemu)
    return Settings(data=tmp_path / "data")


def file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "vmlinux-own"
    path.write_bytes(vmlinux(embedded=text))
    return str(path)


def used(settings: Settings) -> GuestKernel:
    return guest_kernel(image_store(settings))


async def test_a_kernel_is_taken_and_given_back(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await choose_kernel(settings, file(tmp_path, config(extra="CONFIG_PVM_GUEST=y")), None)
    assert (used(settings).name, used(settings).pvm) == ("Linux 6.12.9-own (vmlinux-own)", True)
    assert (
        "Linux 6.12.9-own (vmlinux-own): with its configuration, with PVM's guest part"
        in capsys.readouterr().err
    )
    await choose_kernel(settings, None, None)
    assert used(settings).pvm, "without --kernel it stays"
    await choose_kernel(settings, "debian", None)
    assert used(settings).name == "Debian's kernel"


async def test_what_another_driver_would_need_is_told(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await choose_kernel(settings, file(tmp_path, config(without=(kernel_needs.VSOCK,))), None)
    assert (
        "Firecracker could not use it: it lacks vsock over virtio (CONFIG_VIRTIO_VSOCKETS)"
        in capsys.readouterr().err
    )


async def test_what_the_driver_needs_is_refused_and_nothing_changes(
    settings: Settings, tmp_path: Path
) -> None:
    await choose_kernel(settings, file(tmp_path, config()), None)
    before = used(settings)
    lacking = file(tmp_path, config(without=(kernel_needs.CONSOLE,), extra="CONFIG_MORE=y"))
    with pytest.raises(ImageImportFailed, match=r"cannot be used here: .*it lacks virtio consoles"):
        await choose_kernel(settings, lacking, None)
    forced = replace(settings, vmm=VmmSettings(driver="qemu"))
    with pytest.raises(ImageImportFailed, match="it lacks virtio consoles"):
        await choose_kernel(forced, lacking, None)
    assert used(settings) == before


@pytest.mark.parametrize(
    ("kernel", "vmm", "named", "words"),
    [
        ("/no/such", None, "", "there is no file /no/such"),
        ("debian", "firecracker", "", "do not go together"),
        ("debian", None, "/a/vmlinux", "images.kernel is set to /a/vmlinux, which wins"),
    ],
)
def test_what_does_not_go_together(
    kernel: str, vmm: str | None, named: str, words: str, settings: Settings
) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_kernel(kernel, None, replace(settings, images=ImageSettings(kernel=named)), vmm=vmm)


def test_modules_go_with_a_kernel(settings: Settings, tmp_path: Path) -> None:
    for kernel in (None, "debian"):
        with pytest.raises(InvalidInput, match="--modules goes with --kernel FILE"):
            check_kernel(kernel, tmp_path, settings, vmm=None)
    named = replace(settings, images=ImageSettings(kernel="/a"))
    check_kernel(None, None, named, vmm="firecracker")
