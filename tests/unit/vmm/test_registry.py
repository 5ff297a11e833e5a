"""Which driver is used, and what is told about it; with fake drivers in the registry."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import VmmSettings
from emberbox.errors import InvalidInput, RequirementMissing, VmmError
from emberbox.sandbox import Engine
from emberbox.vmm import registry
from emberbox.vmm.base import DriverReport, Rates
from emberbox.vmm.driver import DriverOptions
from emberbox.vmm.firecracker.kind import KIND as FIRECRACKER
from emberbox.vmm.guest_kernel import GuestKernel
from emberbox.vmm.qemu.kind import KIND as QEMU
from emberbox.vmm.registry import absence, choose_driver, make_driver, rates_of, report_of
from tests.patience import PATIENCE_S
from tests.unit.vmm.kinds import register

if TYPE_CHECKING:
    from emberbox.vmm.kind import DriverKind

KVM = DriverReport(usable=True, accelerator="kvm", version="1", reason="hardware virtualization")
TCG = DriverReport(usable=True, accelerator="tcg", version="1", reason="software emulation")
LACKING = DriverReport(
    usable=False, accelerator=None, version=None, reason="no rights\n  To mend it: sudo", mend="sudo"
)


class Fake:
    """A driver that finds what the test says."""

    def __init__(self, name: str, found: DriverReport | Exception, given: tuple[Any, ...]) -> None:
        self.name = name
        self.found = found
        self.given = given
        self.probes = 0

    async def probe(self) -> DriverReport:
        self.probes += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Made(dict[str, Fake]):
    """The drivers that were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.monkeypatch = monkeypatch


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr("shutil.which", lambda _: None)
    return Made(monkeypatch)


def registered(made: Made, **found: DriverReport | Exception) -> None:
    """Register drivers that find this, each of the real one's kind, others of QEMU's."""

    def kind(name: str, report: DriverReport | Exception) -> DriverKind:
        def make(*given: Any) -> Any:
            made[name] = Fake(name, report, given)
            return made[name]

        real = {"firecracker": FIRECRACKER, "qemu": QEMU}.get(name, replace(QEMU, title=name))
        return replace(real, make=make)

    register(made.monkeypatch, **{name: kind(name, report) for name, report in found.items()})


def install(data: Path) -> Path:
    """Make Firecracker look installed."""
    (data / "vmm/firecracker").mkdir(parents=True)
    return data


async def test_the_best_usable_driver_is_taken(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert driver.name == "firecracker"
    assert report.reason == "Firecracker: hardware virtualization"
    assert "qemu" not in made, "what is not needed is not even made"


async def test_what_is_not_installed_is_neither_made_nor_probed(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(), tmp_path)
    assert driver.name == "qemu"
    assert set(made) == {"qemu"}
    assert report.reason == (
        "QEMU: hardware virtualization; Firecracker is not used: it is not installed (emberbox setup --vmm "
        "firecracker)"
    )


async def test_installing_is_not_advised_where_it_would_not_help(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=TCG)
    _, report = await choose_driver(VmmSettings(), tmp_path)
    assert (
        report.reason
        == "QEMU: software emulation; Firecracker is not used: it is not installed, and needs KVM"
    )


async def test_an_unusable_driver_is_passed_over_with_its_reason(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=LACKING, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert driver.name == "qemu"
    assert report.reason == "QEMU: hardware virtualization; Firecracker is not used: no rights (sudo)"


async def test_a_reason_that_begins_with_the_drivers_name_does_not_stutter(
    made: Made, tmp_path: Path
) -> None:
    registered(made, firecracker=VmmError("Firecracker needs root"), qemu=TCG)
    _, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert report.reason == "QEMU: software emulation; Firecracker is not used: it needs root"


@pytest.mark.parametrize(
    "error", [VmmError("it broke"), OSError("it broke"), RequirementMissing("it broke", mend="fix")]
)
async def test_a_driver_that_fails_is_passed_over(error: Exception, made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=error, qemu=TCG)
    driver, report = await choose_driver(VmmSettings(), install(tmp_path))
    assert driver.name == "qemu"
    assert "Firecracker is not used: it broke" in report.reason
    assert "\n" not in report.reason


async def test_nothing_usable_tells_all_and_the_easiest_mend(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=LACKING)
    _, report = await choose_driver(VmmSettings(), tmp_path)
    assert (report.usable, report.mend) == (False, "sudo")
    assert report.reason == "no driver can be used: QEMU: no rights; Firecracker: it is not installed"


async def test_a_driver_that_is_set_is_never_replaced(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=LACKING, qemu=KVM)
    driver, report = await choose_driver(VmmSettings(driver="firecracker"), install(tmp_path))
    assert (driver.name, report.usable, report.mend) == ("firecracker", False, "sudo")
    assert report.reason == "Firecracker, as set: no rights"
    assert "qemu" not in made


async def test_a_set_driver_that_is_not_installed_is_not_probed(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    _, report = await choose_driver(VmmSettings(driver="firecracker"), tmp_path)
    assert (report.usable, report.mend) == (False, "emberbox setup --vmm firecracker")
    assert made["firecracker"].probes == 0


async def test_the_engine_refuses_a_set_driver_that_is_unusable(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    from emberbox.config import Settings

    engine = Engine(Settings(data=tmp_path, vmm=VmmSettings(driver="firecracker")))
    with pytest.raises(RequirementMissing, match="Firecracker, as set: it is not installed") as told:
        await engine.__aenter__()
    assert told.value.mend == "emberbox setup --vmm firecracker"
    assert told.value.message.count("emberbox setup") == 1


async def test_a_third_driver_is_one_line(made: Made, tmp_path: Path) -> None:
    registered(made, qemu=LACKING, other=KVM)
    driver, report = await choose_driver(VmmSettings(), tmp_path)
    assert driver.name == "other"
    assert report.reason == "other: hardware virtualization; QEMU is not used: no rights (sudo)"
    assert (await choose_driver(VmmSettings(driver="other"), tmp_path))[0].name == "other"
    with pytest.raises(InvalidInput, match="there is no VMM driver 'nonsense'; there are: auto, other, qemu"):
        await choose_driver(VmmSettings(driver="nonsense"), tmp_path)


async def test_settings_reach_the_driver(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    binary = tmp_path / "fc"
    binary.touch()
    settings = VmmSettings(accelerator="kvm", uid_base=5000, firecracker=str(binary), log_level="debug")
    await choose_driver(settings, tmp_path)
    assert made["firecracker"].given == (settings, tmp_path / "vmm", None)
    kernel = GuestKernel(name="Linux")
    make_driver("qemu", VmmSettings(), tmp_path, kernel)
    assert made["qemu"].given == (VmmSettings(), tmp_path / "vmm", kernel)


def test_each_driver_is_made_as_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, tuple[Path, DriverOptions, dict[str, Any]]] = {}
    for path in ("firecracker.driver.FirecrackerDriver", "qemu.driver.QemuDriver"):

        def note(folder: Path, options: DriverOptions, name: str = path, **more: Any) -> None:
            made[name.partition(".")[0]] = folder, options, more

        monkeypatch.setattr(f"emberbox.vmm.{path}", note)
    kernel, vmm = GuestKernel(name="Linux"), tmp_path / "vmm"
    settings = VmmSettings(accelerator="kvm", uid_base=5000, firecracker="/fc", log_level="debug")
    make_driver("firecracker", settings, tmp_path)
    make_driver("qemu", VmmSettings(kvm_kind="pvm"), tmp_path, kernel)
    options = DriverOptions(accelerator="kvm", uid_base=5000, log_level="debug")
    assert made["firecracker"] == (vmm, options, {"firecracker": Path("/fc"), "jailer": None})
    assert made["qemu"] == (vmm, DriverOptions(uid_base=790_000, kernel=kernel, kvm_kind="pvm"), {})


async def test_a_driver_that_the_kernel_cannot_serve_is_passed_over(made: Made, tmp_path: Path) -> None:
    registered(made, firecracker=KVM, qemu=KVM)
    kernel = GuestKernel(name="Linux 6.9-own", lacks={"firecracker": ("vsock",)})
    driver, report = await choose_driver(VmmSettings(), install(tmp_path), kernel)
    assert driver.name == "qemu"
    assert (
        "Firecracker is not used: the kernel Linux 6.9-own cannot be used with it: it lacks vsock"
        in report.reason
    )
    _, refused = await choose_driver(VmmSettings(driver="firecracker"), install(tmp_path / "again"), kernel)
    assert not refused.usable


def test_a_missing_binary_costs_next_to_no_import(tmp_path: Path) -> None:
    code = "; ".join(
        (
            "import sys, pathlib, emberbox.config, emberbox.vmm.registry as registry",
            "registry.absence('firecracker', emberbox.config.VmmSettings(), pathlib.Path(sys.argv[1]))",
            "print(*sys.modules)",
        )
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    package = "emberbox.vmm.firecracker."
    ours = {name.removeprefix(package) for name in done.stdout.split() if name.startswith(package)}
    assert ours == {"kind", "mark", "install", "install.release"}


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


async def test_what_a_driver_lacks_is_told_whichever_is_chosen(made: Made, tmp_path: Path) -> None:
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
