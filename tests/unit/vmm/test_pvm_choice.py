"""With PVM on both sides, KVM is chosen by itself.

No PVM kernel is at hand: the host's files and the probe's run are faked.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emberbox.config import VmmSettings
from emberbox.vmm.guest_kernel import GuestKernel
from emberbox.vmm.kvm import acceleration
from emberbox.vmm.qemu import host as qemu_host
from emberbox.vmm.registry import choose_driver
from tests.unit.vmm.firecracker.test_host import firecracker, jailer

PVM = VmmSettings(kvm_kind="pvm")
BUILT_FOR_IT = GuestKernel(name="Linux 6.12.33-pvm", pvm=True)
ORDINARY = GuestKernel(name="Linux 6.1.0-50-cloud-amd64")


@pytest.fixture(autouse=True)
def pvm_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose KVM carries the test out, slowly."""

    async def slowly(*_: object) -> tuple[int, bytes]:
        return 0, b'{"microseconds": 300000}'

    monkeypatch.setattr(acceleration, "_obstacle", lambda *_: None)
    monkeypatch.setattr(acceleration, "_key", lambda _: "this boot")
    monkeypatch.setattr(acceleration, "_run", slowly)
    monkeypatch.setattr(qemu_host, "check_node", lambda *_: None)
    monkeypatch.setattr(qemu_host, "jail_root", lambda folder, _: folder)
    monkeypatch.setattr(
        "shutil.which", lambda name, **_: None if name in ("firecracker", "jailer") else f"/usr/bin/{name}"
    )
    monkeypatch.setattr(
        qemu_host, "require_programs", lambda names, **_: {name: Path("/bin/true") for name in names}
    )
    monkeypatch.setattr(qemu_host, "_look_at", lambda _: {"version": "7.2", "known_flags": []})


async def test_qemu_takes_kvm_with_a_kernel_for_it(tmp_path: Path) -> None:
    driver, report = await choose_driver(PVM, tmp_path, BUILT_FOR_IT)
    assert (driver.name, report.usable, report.accelerator) == ("qemu", True, "kvm")
    assert "for which the kernel Linux 6.12.33-pvm is built" in report.reason


async def test_and_emulation_without_one(tmp_path: Path) -> None:
    driver, report = await choose_driver(PVM, tmp_path, ORDINARY)
    assert (driver.name, report.usable, report.accelerator) == ("qemu", True, "tcg")
    assert "Linux 6.1.0-50-cloud-amd64 has none (emberbox setup --kernel FILE)" in report.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="Firecracker's jailer needs root")
async def test_firecracker_comes_first_with_a_kernel_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.vmm.firecracker.host.require_programs", lambda *_, **__: {})
    monkeypatch.setattr("emberbox.vmm.firecracker.host.check_rights", lambda *_: None)
    settings = VmmSettings(
        kvm_kind="pvm", firecracker=str(firecracker(tmp_path)), jailer=str(jailer(tmp_path))
    )
    driver, report = await choose_driver(settings, tmp_path, BUILT_FOR_IT)
    assert (driver.name, report.usable, report.accelerator) == ("firecracker", True, "kvm")
    driver, report = await choose_driver(settings, tmp_path, ORDINARY)
    assert (driver.name, report.accelerator) == ("qemu", "tcg")
    assert "Firecracker is not used: it needs KVM: this host's KVM is PVM" in report.reason


async def test_kvm_that_is_set_is_refused_before_a_boot_is_tried(tmp_path: Path) -> None:
    _, report = await choose_driver(VmmSettings(kvm_kind="pvm", accelerator="kvm"), tmp_path, ORDINARY)
    assert not report.usable
    assert "has none: no guest would boot" in report.reason
    _, taken = await choose_driver(VmmSettings(kvm_kind="pvm", accelerator="kvm"), tmp_path, BUILT_FOR_IT)
    assert (taken.usable, taken.accelerator) == (True, "kvm")
