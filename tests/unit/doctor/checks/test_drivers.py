"""Which driver is told to be used, and what the others lack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.config import Settings, VmmSettings
from emberbox.doctor.checks.drivers import Better, Choice, check_driver, check_probed, look_at_drivers
from emberbox.doctor.finding import Finding, Level
from emberbox.doctor.trials.machine import MachineTrial
from emberbox.vmm.base import DriverReport
from emberbox.vmm.firecracker.kind import KIND as FIRECRACKER
from emberbox.vmm.kvm.acceleration import Acceleration
from emberbox.vmm.qemu.kind import KIND as QEMU
from tests.unit.doctor.machines import ScriptedMachine
from tests.unit.vmm.kinds import register

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.kind import DriverKind

KVM = DriverReport(usable=True, accelerator="kvm", version="Firecracker 1.16.1", reason="hardware")
TCG = DriverReport(usable=True, accelerator="tcg", version="QEMU 7", reason="software; no control groups")
LACKING = DriverReport(
    usable=False, accelerator=None, version=None, reason="the jailer is of another version", mend="mend it"
)
RAN = MachineTrial(ran_ms=20.6)
INSTALL = "emberbox setup --vmm firecracker"
BETTER = Better(title="Firecracker", merit="starts VMs faster", mend=INSTALL)


def _choice(found: DriverReport, beyond: str = "", wanted: str = "auto") -> Choice:
    report = replace(found, reason=f"QEMU: {found.reason}{beyond}")
    return Choice(name="qemu", title="QEMU", wanted=wanted, report=report, found=found)


def test_the_best_that_works() -> None:
    finding = check_driver(_choice(TCG, "; Firecracker is not used: no KVM"), BETTER, RAN)
    assert (finding.level, finding.mend) == (Level.OK, None)
    assert finding.found == (
        "QEMU, the best that works here: a guest ran 21 ms after its start; Firecracker is not used: no KVM"
    )


def test_a_driver_whose_vm_does_not_run_is_not_fine() -> None:
    failed = MachineTrial(problem="bwrap: no permissions", mend="mend it")
    finding = check_driver(_choice(TCG), None, failed)
    assert (finding.level, finding.mend) == (Level.MISSING, "mend it")
    assert finding.found == "QEMU was tried: bwrap: no permissions"


def test_a_better_driver_is_advised_where_it_would_run() -> None:
    finding = check_driver(_choice(KVM), BETTER, RAN)
    assert (finding.level, finding.mend) == (Level.WARNING, INSTALL)
    assert finding.follows == "Firecracker starts VMs faster. To stay with this: EMBERBOX_VMM_DRIVER=qemu"


def test_what_is_set_is_not_questioned() -> None:
    finding = check_driver(_choice(KVM, wanted="qemu"), BETTER, RAN)
    assert (finding.level, finding.found) == (
        Level.OK,
        "QEMU, as set by vmm.driver: a guest ran 21 ms after its start",
    )


def test_no_driver_at_all() -> None:
    finding = check_driver(_choice(LACKING), None, None)
    assert (finding.level, finding.mend) == (Level.MISSING, "mend it")


def test_what_no_package_brings() -> None:
    def check(report: DriverReport, lacks: list[str], *, used: bool) -> Finding:
        return check_probed("firecracker", "Firecracker", report, lacks, used=used)

    assert check(KVM, [], used=True).found == "Firecracker 1.16.1"
    assert check(KVM, [], used=False).found == "not used: Firecracker 1.16.1"
    assert check(LACKING, ["no root", "no KVM"], used=False).found == "not used: no root; no KVM"
    assert check(LACKING, [], used=False).found == "not used: the jailer is of another version"


class Fake:
    def __init__(self, name: str, found: DriverReport) -> None:
        self.name = name
        self.found = found

    async def probe(self) -> DriverReport:
        return self.found

    async def start(self, spec: MachineSpec) -> ScriptedMachine:
        return ScriptedMachine(spec)


async def _look(
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    vmm: VmmSettings,
    *,
    real: Acceleration | None = None,
    **drivers: DriverReport,
) -> dict[str, Finding]:
    def kind(name: str) -> DriverKind:
        real = {"firecracker": FIRECRACKER, "qemu": QEMU}[name]
        return replace(real, make=lambda *_: Fake(name, drivers[name]))  # type: ignore[arg-type]

    async def no_kvm(cache: Path, **_: object) -> Acceleration:
        return Acceleration("tcg", "software emulation: there is none") if real is None else real

    monkeypatch.setattr("emberbox.vmm.kvm.acceleration.probe_acceleration", no_kvm)
    register(monkeypatch, **{name: kind(name) for name in drivers})
    return {
        finding.key: finding for finding in (await look_at_drivers(Settings(data=data, vmm=vmm))).findings
    }


async def test_firecracker_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vmm/firecracker").mkdir(parents=True)
    monkeypatch.setattr("emberbox.doctor.checks.drivers.which", lambda _: None)
    found = await _look(monkeypatch, tmp_path, VmmSettings(), firecracker=KVM, qemu=TCG)
    assert found["driver"].found.startswith("Firecracker, the best that works here: a guest ran ")
    assert (found["acceleration"].level, found["acceleration"].found) == (Level.OK, "KVM: hardware")
    assert found["firecracker"].found == "Firecracker 1.16.1"
    assert found["qemu"].level is Level.OK, "it is not needed"
    assert found["bubblewrap"].level is Level.MISSING, "both drivers need it"


async def test_qemu_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = await _look(monkeypatch, tmp_path, VmmSettings(), firecracker=KVM, qemu=TCG)
    assert found["driver"].found.startswith("QEMU, the best that works here: a guest ran ")
    assert "; Firecracker is not used: it is not installed" in found["driver"].found
    assert found["acceleration"].found == "TCG: software; no control groups"
    assert found["firecracker"].found == "not used: it is not installed; it needs KVM, and there is none"
    assert found["qemu"].level is Level.MISSING


async def test_a_set_driver_that_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vmm/firecracker").mkdir(parents=True)
    found = await _look(
        monkeypatch, tmp_path, VmmSettings(driver="firecracker"), firecracker=LACKING, qemu=TCG
    )
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
    hardware = Acceleration("kvm", "hardware")
    settings = VmmSettings(accelerator="kvm")
    found = await _look(monkeypatch, tmp_path, settings, real=hardware, firecracker=LACKING, qemu=KVM)
    assert found["firecracker"].found == "not used: the jailer is of another version"
    assert (found["driver"].level, found["driver"].mend) == (Level.WARNING, "mend it")


async def test_kvm_that_is_set_and_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await _look(monkeypatch, tmp_path, VmmSettings(accelerator="kvm"), firecracker=LACKING, qemu=KVM)
    assert (found["acceleration"].level, "there is none" in found["acceleration"].found) == (
        Level.MISSING,
        True,
    )
    assert found["driver"].mend is None, "Firecracker would not run either"
