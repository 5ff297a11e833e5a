"""Which driver is told to be used, and what the others lack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emberbox.config import Settings, VmmSettings
from emberbox.doctor.drivers import Choice, check_driver, check_firecracker, look_at_drivers
from emberbox.doctor.finding import Finding, Level
from emberbox.vmm import DriverReport, registry
from emberbox.vmm.acceleration import Acceleration

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KVM = DriverReport(usable=True, accelerator="kvm", version="Firecracker 1.16.1", reason="hardware")
TCG = DriverReport(usable=True, accelerator="tcg", version="QEMU 7", reason="software; no control groups")
LACKING = DriverReport(usable=False, accelerator=None, version=None, reason="the jailer is of another version", mend="mend it")
INSTALL = "emberbox setup --vmm firecracker"


def _choice(found: DriverReport, beyond: str = "", wanted: str = "auto") -> Choice:
    report = replace(found, reason=f"QEMU: {found.reason}{beyond}")
    return Choice(name="qemu", title="QEMU", wanted=wanted, report=report, found=found)


def test_the_best_that_works() -> None:
    finding = check_driver(_choice(TCG, "; Firecracker is not used: no KVM"), INSTALL)
    assert (finding.level, finding.mend) == (Level.OK, None)
    assert finding.found == "QEMU, the best that works here; Firecracker is not used: no KVM"


def test_a_better_driver_is_advised_where_it_would_run() -> None:
    finding = check_driver(_choice(KVM), INSTALL)
    assert (finding.level, finding.mend) == (Level.WARNING, INSTALL)


def test_what_is_set_is_not_questioned() -> None:
    finding = check_driver(_choice(KVM, wanted="qemu"), INSTALL)
    assert (finding.level, finding.found) == (Level.OK, "QEMU, as set by vmm.driver")


def test_no_driver_at_all() -> None:
    finding = check_driver(_choice(LACKING), None)
    assert (finding.level, finding.mend) == (Level.MISSING, "mend it")


def test_firecracker() -> None:
    assert check_firecracker(KVM, [], used=True).found == "Firecracker 1.16.1"
    assert check_firecracker(KVM, [], used=False).found == "not used: Firecracker 1.16.1"
    assert check_firecracker(LACKING, ["no root", "no KVM"], used=False).found == "not used: no root; no KVM"
    assert check_firecracker(LACKING, [], used=False).found == "not used: the jailer is of another version"


class Fake:
    def __init__(self, name: str, found: DriverReport) -> None:
        self.name = name
        self.found = found

    async def probe(self) -> DriverReport:
        return self.found


async def _look(monkeypatch: pytest.MonkeyPatch, data: Path, vmm: VmmSettings, **drivers: DriverReport) -> dict[str, Finding]:
    def maker(name: str) -> Any:
        return lambda folder, options: Fake(name, drivers[name])

    async def no_kvm(cache: Path) -> Acceleration:
        return Acceleration("tcg", "software emulation: there is none")

    monkeypatch.setattr("emberbox.vmm.acceleration.probe_acceleration", no_kvm)
    monkeypatch.setattr(registry, "DRIVERS", {name: maker(name) for name in drivers})
    return {finding.key: finding for finding in await look_at_drivers(Settings(data=data, vmm=vmm))}


async def test_firecracker_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vmm/firecracker").mkdir(parents=True)
    monkeypatch.setattr("emberbox.doctor.probes.find", lambda _: None)
    found = await _look(monkeypatch, tmp_path, VmmSettings(), firecracker=KVM, qemu=TCG)
    assert found["driver"].found == "Firecracker, the best that works here"
    assert (found["acceleration"].level, found["acceleration"].found) == (Level.OK, "KVM: hardware")
    assert found["firecracker"].found == "Firecracker 1.16.1"
    assert found["qemu"].level is Level.OK, "it is not needed"
    assert found["bubblewrap"].level is Level.MISSING, "both drivers need it"


async def test_qemu_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = await _look(monkeypatch, tmp_path, VmmSettings(), firecracker=KVM, qemu=TCG)
    assert found["driver"].found.startswith("QEMU, the best that works here; Firecracker is not used: it is not installed")
    assert found["acceleration"].found == "TCG: software; no control groups"
    assert found["firecracker"].found == "not used: it is not installed; it needs KVM, and there is none"
    assert found["qemu"].level is Level.MISSING


async def test_a_set_driver_that_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vmm/firecracker").mkdir(parents=True)
    found = await _look(monkeypatch, tmp_path, VmmSettings(driver="firecracker"), firecracker=LACKING, qemu=TCG)
    assert (found["driver"].level, found["driver"].mend) == (Level.MISSING, "mend it")
    assert "acceleration" not in found


async def test_a_driver_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await _look(monkeypatch, tmp_path, VmmSettings(driver="xen"), qemu=TCG)
    assert (found["driver"].level, found["driver"].found) == (
        Level.MISSING,
        "there is no VMM driver 'xen'; there are: auto, qemu",
    )


async def test_kvm_that_is_taken_for_granted_is_not_what_firecracker_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vmm/firecracker").mkdir(parents=True)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("emberbox.vmm.firecracker.host.find_binaries", lambda *_: None)
    found = await _look(monkeypatch, tmp_path, VmmSettings(accelerator="kvm"), firecracker=LACKING, qemu=KVM)
    assert found["firecracker"].found == "not used: the jailer is of another version"
    assert (found["driver"].level, found["driver"].mend) == (Level.WARNING, "mend it")
