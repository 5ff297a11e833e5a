"""The drivers by name. A new driver is one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.vmm.base import Driver, DriverReport


def _qemu(folder: Path, options: dict[str, Any]) -> Driver:
    from emberbox.vmm.qemu.driver import QemuDriver

    return QemuDriver(folder, **options)


DRIVERS: dict[str, Callable[[Path, dict[str, Any]], Driver]] = {
    "qemu": _qemu,
}


def choose(name: str, folder: Path, **options: Any) -> Driver:
    """Return the driver `name`, or the best one for `auto`. Does nothing on the host yet.

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
    """Return the driver that the settings ask for, and what probing it found; it may be unusable.

    Args:
        settings: The driver, its accelerator and its first uid.
        data: The data folder; drivers keep what they prepare in its folder `vmm`.
    """
    accelerator = None if settings.accelerator == "auto" else settings.accelerator
    driver = choose(settings.driver, data / "vmm", accelerator=accelerator, uid_base=settings.uid_base)
    return driver, await driver.probe()
