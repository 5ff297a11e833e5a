"""The drivers by name, and which one is used. A new driver is one line in `DRIVERS`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError, InvalidInput, RequirementMissing
from emberbox.vmm.base import DriverReport, Rates

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.vmm.base import Driver
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.kind import DriverKind
    from emberbox.vmm.process.marks import Mark

_MIB = 1024 * 1024

DRIVERS = {
    "firecracker": "emberbox.vmm.firecracker.kind",
    "qemu": "emberbox.vmm.qemu.kind",
}
"""By name, the module whose `KIND` tells of each driver. `auto` takes the first that is usable: the order is
that of preference, and the last needs the least."""


def kind_of(name: str) -> DriverKind:
    """Return what is known of the driver `name`. Raises `InvalidInput` where there is none."""
    if name not in DRIVERS:
        raise InvalidInput(f"there is no VMM driver {name!r}; there are: auto, {', '.join(sorted(DRIVERS))}")
    kind: DriverKind = import_module(DRIVERS[name]).KIND
    return kind


def kinds() -> dict[str, DriverKind]:
    """Return what is known of all drivers, by name, the preferred first."""
    return {name: kind_of(name) for name in DRIVERS}


def marks() -> tuple[Mark, ...]:
    """Return by what the VMMs of all drivers are known among the host's processes."""
    return tuple(kind.mark for kind in kinds().values())


async def choose_driver(
    settings: VmmSettings, data: Path, kernel: GuestKernel | None = None
) -> tuple[Driver, DriverReport]:
    """Return the driver to use, and its report, whose reason says why no better one.

    A driver that is set by name is never replaced by another. The report may say that the driver is
    not usable: then no VM can be started, and `mend` is what to do about it. Safe to cancel and to
    repeat.

    Args:
        settings: The driver, its accelerator, its binaries and its first uid.
        data: The data folder; drivers keep what they prepare in its folder `vmm`.
        kernel: What guests boot, which decides what they can run on; None where that is not known.

    Raises:
        InvalidInput: There is no driver of that name.
    """
    if settings.driver != "auto":
        driver = make_driver(settings.driver, settings, data, kernel)
        report = absence(settings.driver, settings, data, kernel) or await _report_of(driver)
        return driver, replace(report, reason=f"{title(settings.driver)}, as set: {report.reason}")
    return await _best(settings, data, kernel)


async def _best(settings: VmmSettings, data: Path, kernel: GuestKernel | None) -> tuple[Driver, DriverReport]:
    passed_over: dict[str, DriverReport] = {}
    for name in DRIVERS:
        driver, report = await _judged(name, settings, data, kernel)
        if driver is not None and report.usable:
            reasons = [f"{title(name)}: {report.reason}"]
            reasons += [_why_not(*item, report) for item in passed_over.items()]
            return driver, replace(report, reason="; ".join(reasons))
        passed_over[name] = report
    # What the last driver lacks is the easiest to mend.
    name, report = list(passed_over.items())[-1]
    reasons = [f"{title(other)}: {found.reason}" for other, found in reversed(passed_over.items())]
    return make_driver(name, settings, data, kernel), replace(
        report, reason="no driver can be used: " + "; ".join(reasons)
    )


def _why_not(name: str, report: DriverReport, chosen: DriverReport) -> str:
    kind = kind_of(name)
    own = f"{kind.title} "
    why = report.reason
    why = f"it {why.removeprefix(own)}" if why.startswith(own) else why
    why = f"{own}is not used: {why}"
    if report.mend is None:
        return why
    # To install it where the chosen driver has found no KVM would change nothing.
    helpless = kind.needs_kvm and chosen.accelerator != "kvm"
    return f"{why}, and needs KVM" if helpless else f"{why} ({report.mend})"


async def _judged(
    name: str, settings: VmmSettings, data: Path, kernel: GuestKernel | None
) -> tuple[Driver | None, DriverReport]:
    """Make and probe one of several drivers, if it may be usable: what that raises only passes it over."""
    if (absent := absence(name, settings, data, kernel)) is not None:
        return None, absent
    try:
        driver = make_driver(name, settings, data, kernel)
        return driver, await _report_of(driver)
    except (EmberboxError, OSError) as error:
        mend = error.mend if isinstance(error, RequirementMissing) else None
        return None, DriverReport(usable=False, reason=_first_line(str(error)), mend=mend)


async def _report_of(driver: Driver) -> DriverReport:
    report = await driver.probe()
    # The message of a missing requirement ends with its mend, which the report has apart.
    return replace(report, reason=_first_line(report.reason))


async def report_of(
    name: str, settings: VmmSettings, data: Path, kernel: GuestKernel | None = None
) -> DriverReport:
    """Probe the driver `name`, whichever is chosen; for people who want to know what it lacks.

    Takes up to seconds.
    """
    return (await _judged(name, settings, data, kernel))[1]


def make_driver(name: str, settings: VmmSettings, data: Path, kernel: GuestKernel | None = None) -> Driver:
    """Return the driver `name` as the settings want it.

    Does nothing on the host yet; raises `InvalidInput`.
    """
    return kind_of(name).make(settings, folder_of(data), kernel)


def absence(
    name: str, settings: VmmSettings, data: Path, kernel: GuestKernel | None = None
) -> DriverReport | None:
    """Return why the driver need not even be probed; None when it may be usable.

    Costs a few looks at the file system.
    Every start of an engine asks this: a host without a driver pays next to nothing for it.
    """
    if (unfit := _unfit(name, kernel)) is not None:
        return DriverReport(usable=False, reason=unfit)
    return kind_of(name).absence(settings, folder_of(data))


def lacks(name: str, settings: VmmSettings, data: Path, kernel: GuestKernel | None = None) -> list[str]:
    """Return all that the driver is known to lack, each for people; runs nothing."""
    unfit = _unfit(name, kernel)
    return [*(() if unfit is None else (unfit,)), *kind_of(name).lacks(settings, folder_of(data))]


def _unfit(name: str, kernel: GuestKernel | None) -> str | None:
    if kernel is None or not (needed := kernel.lacks.get(name)):
        return None
    return f"the kernel {kernel.name} cannot be used with it: it lacks {', '.join(needed)}"


def folder_of(data: Path) -> Path:
    """Return the folder in the data folder where drivers keep what they prepare."""
    return data / "vmm"


def rates_of(settings: VmmSettings) -> Rates:
    """Return the bounds of each machine's input and output that the settings ask for."""
    return Rates(
        disk_bytes_per_s=settings.disk_mib_per_s * _MIB or None,
        disk_ops_per_s=settings.disk_ops_per_s or None,
        network_bytes_per_s=settings.network_mib_per_s * _MIB or None,
    )


def title(name: str) -> str:
    """Return a driver's name for people; one that there is not is called as it is."""
    return kind_of(name).title if name in DRIVERS else name


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
