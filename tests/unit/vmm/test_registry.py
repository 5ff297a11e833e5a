"""Which driver is used, and what is told about it; with fake drivers in the registry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import VmmSettings
from emberbox.errors import InvalidInput, RequirementMissing, VmmError
from emberbox.sandbox import Engine
from emberbox.vmm import DriverReport, registry
from emberbox.vmm.base import Rates
from emberbox.vmm.registry import absence, choose_driver, make_driver, rates_of, report_of

if TYPE_CHECKING:
    from pathlib import Path

KVM = DriverReport(usable=True, accelerator="kvm", version="1", reason="hardware virtualization")
TCG = DriverReport(usable=True, accelerator="tcg", version="1", reason="software emulation")
LACKING = DriverReport(usable=False, accelerator=None, version=None, reason="no rights\n  To mend it: sudo", mend="sudo")


class Fake:
    """A driver that finds what the test says."""

    def __init__(self, name: str, found: DriverReport | Exception, options: dict[str, Any]) -> None:
        self.name = name
        self.found = found
        self.options = options
        self.probes = 0

    async def probe(self) -> DriverReport:
        self.probes += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """The drivers that were made."""
    monkeypatch.setattr(registry, "DRIVERS", {})
    monkeypatch.setattr("shutil.which", lambda _: None)
    return {}


def registered(made: dict[str, Fake], **found: DriverReport | Exception) -> None:
    def register(name: str, report: DriverReport | Exception) -> None:
        def make(folder: Path, options: dict[str, Any]) -> Any:
            made[name] = Fake(name, report, {"folder": folder, **options})
            return made[name]

        registry.DRIVERS[name] = make

    for name, report in found.items():
        register(name, report)


def install(data: Path) -> Path:
    """Make Firecracker look installed."""
    (data / "vmm/firecracker").mkdir(parents=True)
    return data


async def test_the_best_usable_driver_is_taken(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert driver.name == "firecracker"
    assert report.reason == "Firecracker: hardware virtualization"
    assert "qemu" not in made, "what is not needed is not even made"


async def test_what_is_not_installed_is_neither_made_nor_probed(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(), tmp_path)
    assert driver.name == "qemu"
    assert set(made) == {"qemu"}
    assert report.reason == (
        "QEMU: hardware virtualization; Firecracker is not used: it is not installed (emberbox setup --vmm firecracker)"
    )


async def test_installing_is_not_advised_where_it_would_not_help(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=TCG)
    _, report = await choose_driver(VmmSettings(), tmp_path)
    assert report.reason == "QEMU: software emulation; Firecracker is not used: it is not installed, and needs KVM"


async def test_an_unusable_driver_is_passed_over_with_its_reason(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=LACKING, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert driver.name == "qemu"
    assert report.reason == "QEMU: hardware virtualization; Firecracker is not used: no rights (sudo)"


async def test_a_reason_that_begins_with_the_drivers_name_does_not_stutter(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=VmmError("Firecracker needs root"), qemu=TCG)
    _, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert report.reason == "QEMU: software emulation; Firecracker is not used: it needs root"


@pytest.mark.parametrize("error", [VmmError("it broke"), OSError("it broke"), RequirementMissing("it broke", mend="fix")])
async def test_a_driver_that_fails_is_passed_over(error: Exception, made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=error, qemu=TCG)
    driver, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert driver.name == "qemu"
    assert "Firecracker is not used: it broke" in report.reason
    assert "\n" not in report.reason


async def test_nothing_usable_tells_all_and_the_easiest_mend(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=LACKING)
    _, report = await choose_driver(VmmSettings(), tmp_path)
    assert (report.usable, report.mend) == (False, "sudo")
    assert report.reason == "no driver can be used: QEMU: no rights; Firecracker: it is not installed"


async def test_a_driver_that_is_set_is_never_replaced(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=LACKING, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(driver="firecracker"), install(tmp_path))
    assert (driver.name, report.usable, report.mend) == ("firecracker", False, "sudo")
    assert report.reason == "Firecracker, as set: no rights"
    assert "qemu" not in made


async def test_a_set_driver_that_is_not_installed_is_not_probed(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    _, report = await choose_driver(VmmSettings(driver="firecracker"), tmp_path)
    assert (report.usable, report.mend) == (False, "emberbox setup --vmm firecracker")
    assert made["firecracker"].probes == 0


async def test_the_engine_refuses_a_set_driver_that_is_unusable(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    from emberbox.config import Settings

    engine = Engine(Settings(data=tmp_path, vmm=VmmSettings(driver="firecracker")))
    with pytest.raises(RequirementMissing, match="Firecracker, as set: it is not installed") as told:
        await engine.__aenter__()
    assert told.value.mend == "emberbox setup --vmm firecracker"
    assert told.value.message.count("emberbox setup") == 1


async def test_a_third_driver_is_one_line(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, qemu=LACKING, other=KVM)
    driver, report = await choose_driver(VmmSettings(), tmp_path)
    assert driver.name == "other"
    assert report.reason == "other: hardware virtualization; QEMU is not used: no rights (sudo)"
    assert (await choose_driver(VmmSettings(driver="other"), tmp_path))[0].name == "other"
    with pytest.raises(InvalidInput, match="there is no VMM driver 'nonsense'; there are: auto, other, qemu"):
        await choose_driver(VmmSettings(driver="nonsense"), tmp_path)


async def test_settings_reach_the_driver(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    binary = tmp_path / "fc"
    binary.touch()
    settings = VmmSettings(accelerator="kvm", uid_base=5000, firecracker=str(binary))
    await choose_driver(settings, tmp_path)
    assert made["firecracker"].options == {
        "folder": tmp_path / "vmm", "accelerator": "kvm", "uid_base": 5000, "firecracker": binary, "jailer": None,
    }  # fmt: skip
    make_driver("qemu", VmmSettings(), tmp_path)
    assert made["qemu"].options == {"folder": tmp_path / "vmm", "accelerator": None, "uid_base": 790_000}


def test_a_missing_binary_costs_no_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    before = set(sys.modules)
    assert absence("firecracker", VmmSettings(), tmp_path) is not None
    assert set(sys.modules) == before


def test_what_makes_a_probe_needless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert absence("firecracker", VmmSettings(), tmp_path) is None
    assert absence("qemu", VmmSettings(accelerator="tcg"), tmp_path) is None
    emulated = absence("firecracker", VmmSettings(accelerator="tcg"), install(tmp_path))
    assert emulated is not None
    assert "vmm.accelerator is tcg" in emulated.reason
    named = absence("firecracker", VmmSettings(firecracker="/no/such"), tmp_path)
    assert named is not None
    assert named.reason == "vmm.firecracker names /no/such, where there is no file"


async def test_what_a_driver_lacks_is_told_whichever_is_chosen(made: dict[str, Fake], tmp_path: Path) -> None:
    registered(made, firecracker=KVM, broken=VmmError("it broke"), qemu=LACKING)
    reports = [await report_of(name, VmmSettings(), tmp_path) for name in registry.DRIVERS]
    assert [(report.usable, report.reason) for report in reports] == [
        (False, "it is not installed"),
        (False, "it broke"),
        (False, "no rights"),
    ]


def test_rates() -> None:
    assert rates_of(VmmSettings()) == Rates()
    assert rates_of(VmmSettings(disk_mib_per_s=2, disk_ops_per_s=100, network_mib_per_s=1)) == Rates(
        disk_bytes_per_s=2_097_152, disk_ops_per_s=100, network_bytes_per_s=1_048_576
    )
