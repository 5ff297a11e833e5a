"""The drivers by name, and which one is used. A new driver is one line in `DRIVERS`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import EmberboxError, InvalidInput, RequirementMissing
from emberbox.vmm.base import DriverReport, Rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import VmmSettings
    from emberbox.vmm.base import Driver

_MIB = 1024 * 1024
_INSTALL_FIRECRACKER = "emberbox setup --vmm firecracker"


def _firecracker(folder: Path, options: dict[str, Any]) -> Driver:
    from emberbox.vmm.firecracker.driver import FirecrackerDriver

    return FirecrackerDriver(folder, **options)


def _qemu(folder: Path, options: dict[str, Any]) -> Driver:
    from emberbox.vmm.qemu.driver import QemuDriver

    return QemuDriver(folder, **options)


DRIVERS: dict[str, Callable[[Path, dict[str, Any]], Driver]] = {
    "firecracker": _firecracker,
    "qemu": _qemu,
}
"""By name, what makes each driver. `auto` takes the first that is usable, so the order is that of preference."""

TITLES = {"firecracker": "Firecracker", "qemu": "QEMU"}
"""Names for people; a driver that is not in here is called by its own name."""


def choose(name: str, folder: Path, **options: Any) -> Driver:
    """Return the driver `name`; for `auto` the one that needs nothing but distribution packages. Does nothing on the host yet.

    Args:
        name: A key of `DRIVERS`, or `auto`.
        folder: Where drivers keep what they prepare, such as `<data>/vmm`.
        options: Passed to the driver (`accelerator`, `cpus`, …).

    Raises:
        InvalidInput: There is no such driver.
    """
    chosen = "qemu" if name == "auto" else name
    if chosen not in DRIVERS:
        raise InvalidInput(f"there is no VMM driver {name!r}; there are: auto, {', '.join(sorted(DRIVERS))}")
    return DRIVERS[chosen](folder, options)


async def choose_driver(settings: VmmSettings, data: Path) -> tuple[Driver, DriverReport]:
    """Return the driver to use, and what probing it found; its reason tells which it is, and why no better one.

    A driver that is set by name is never replaced by another. The report may say that the driver is not usable: then no VM can
    be started, and `mend` is what to do about it. Safe to cancel and to repeat.

    Args:
        settings: The driver, its accelerator, its binaries and its first uid.
        data: The data folder; drivers keep what they prepare in its folder `vmm`.

    Raises:
        InvalidInput: There is no driver of that name.
    """
    if settings.driver != "auto":
        driver = make_driver(settings.driver, settings, data)
        report = absence(settings.driver, settings, data) or await _report_of(driver)
        return driver, replace(report, reason=f"{title(settings.driver)}, as set: {report.reason}")
    return await _best(settings, data)


async def _best(settings: VmmSettings, data: Path) -> tuple[Driver, DriverReport]:
    passed_over: dict[str, DriverReport] = {}
    for name in DRIVERS:
        report = absence(name, settings, data)
        if report is None:
            driver, report = await _probed(name, settings, data)
            if driver is not None and report.usable:
                reasons = [f"{title(name)}: {report.reason}", *(_why_not(*item, report) for item in passed_over.items())]
                return driver, replace(report, reason="; ".join(reasons))
        passed_over[name] = report
    # The last driver of the list needs the least: what it lacks is the easiest to mend.
    name, report = list(passed_over.items())[-1]
    reasons = [f"{title(other)}: {found.reason}" for other, found in reversed(passed_over.items())]
    return make_driver(name, settings, data), replace(report, reason="no driver can be used: " + "; ".join(reasons))


def _why_not(name: str, report: DriverReport, chosen: DriverReport) -> str:
    own = f"{title(name)} "
    why = f"{own}is not used: {f'it {report.reason.removeprefix(own)}' if report.reason.startswith(own) else report.reason}"
    if report.mend is None:
        return why
    # To install it where the chosen driver has found no KVM would change nothing.
    return f"{why} ({report.mend})" if chosen.accelerator == "kvm" else f"{why}, and needs KVM"


async def _probed(name: str, settings: VmmSettings, data: Path) -> tuple[Driver | None, DriverReport]:
    """Make and probe one of several drivers: what this raises only passes the driver over."""
    try:
        driver = make_driver(name, settings, data)
        return driver, await _report_of(driver)
    except (EmberboxError, OSError) as error:
        mend = error.mend if isinstance(error, RequirementMissing) else None
        return None, _unusable(_first_line(str(error)), mend)


async def _report_of(driver: Driver) -> DriverReport:
    report = await driver.probe()
    # The message of a missing requirement ends with its mend, which the report has apart.
    return replace(report, reason=_first_line(report.reason))


async def report_of(name: str, settings: VmmSettings, data: Path) -> DriverReport:
    """Probe the driver `name`, whichever is chosen; for people who want to know what it lacks. Takes up to seconds."""
    return absence(name, settings, data) or (await _probed(name, settings, data))[1]


def make_driver(name: str, settings: VmmSettings, data: Path) -> Driver:
    """Return the driver `name` as the settings want it. Does nothing on the host yet; raises `InvalidInput`."""
    accelerator = None if settings.accelerator == "auto" else settings.accelerator
    options: dict[str, Any] = {"accelerator": accelerator, "uid_base": settings.uid_base}
    if name == "firecracker":
        options |= {part: Path(path) if (path := getattr(settings, part)) else None for part in ("firecracker", "jailer")}
    return choose(name, data / "vmm", **options)


def absence(name: str, settings: VmmSettings, data: Path) -> DriverReport | None:
    """Return why the driver need not even be probed; None when it may be usable. Costs a few looks at the file system.

    Every start of an engine asks this, so that a host without Firecracker pays nothing for that there is such a driver.
    """
    if name != "firecracker":
        return None
    if settings.accelerator == "tcg":
        return _unusable("it runs on KVM only, and vmm.accelerator is tcg", None)
    if settings.firecracker:
        there = Path(settings.firecracker).is_file()
        return None if there else _unusable(f"vmm.firecracker names {settings.firecracker}, where there is no file", None)
    if (data / "vmm/firecracker").is_dir() or shutil.which("firecracker"):
        return None
    return _unusable("it is not installed", _INSTALL_FIRECRACKER)


def rates_of(settings: VmmSettings) -> Rates:
    """Return the bounds of each machine's input and output that the settings ask for."""
    return Rates(
        disk_bytes_per_s=settings.disk_mib_per_s * _MIB or None,
        disk_ops_per_s=settings.disk_ops_per_s or None,
        network_bytes_per_s=settings.network_mib_per_s * _MIB or None,
    )


def title(name: str) -> str:
    """Return a driver's name for people."""
    return TITLES.get(name, name)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _unusable(reason: str, mend: str | None) -> DriverReport:
    return DriverReport(usable=False, accelerator=None, version=None, reason=reason, mend=mend)
