"""Firecracker as a driver that could be used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.vmm.base import DriverReport
from emberbox.vmm.firecracker.install.release import INSTALL
from emberbox.vmm.firecracker.mark import MARK
from emberbox.vmm.kind import DriverKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import VmmSettings
    from emberbox.vmm.base import Driver
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.kind import InstallWish

_FOLDER = "firecracker"
_SERIAL = 0x4000_2000


def absence(settings: VmmSettings, folder: Path) -> DriverReport | None:
    """Say why it need not be probed: its accelerator is ruled out, or its program is not there."""
    if settings.accelerator == "tcg":
        return DriverReport(usable=False, reason="it runs on KVM only, and vmm.accelerator is tcg")
    if settings.firecracker:
        there = Path(settings.firecracker).is_file()
        reason = f"vmm.firecracker names {settings.firecracker}, where there is no file"
        return None if there else DriverReport(usable=False, reason=reason)
    if (folder / _FOLDER).is_dir() or shutil.which("firecracker"):
        return None
    return DriverReport(usable=False, reason="it is not installed", mend=INSTALL)


def lacks(settings: VmmSettings, folder: Path) -> list[str]:
    """Say what it lacks but for KVM, which takes a probe."""
    absent = absence(settings, folder)
    binaries = absent.reason if absent is not None else _binaries_problem(settings, folder)
    root = None if os.geteuid() == 0 else "its jailer needs root"
    return [text for text in (binaries, root) if text is not None]


def _binaries_problem(settings: VmmSettings, folder: Path) -> str | None:
    from emberbox.vmm.firecracker.host import find_binaries

    try:
        find_binaries(folder, _path(settings.firecracker), _path(settings.jailer))
    except RequirementMissing as error:
        return error.message.partition("\n")[0]
    return None


def make(settings: VmmSettings, folder: Path, kernel: GuestKernel | None) -> Driver:
    """Make the driver; does nothing on the host yet."""
    from emberbox.vmm.driver import options_of
    from emberbox.vmm.firecracker.driver import FirecrackerDriver

    firecracker, jailer = _path(settings.firecracker), _path(settings.jailer)
    return FirecrackerDriver(folder, options_of(settings, kernel), firecracker=firecracker, jailer=jailer)


def _path(setting: str) -> Path | None:
    return Path(setting) if setting else None


async def install(folder: Path, wish: InstallWish, step: Callable[[str, float | None], None]) -> list[str]:
    """Install the wished release of Firecracker and its jailer; see `DriverKind`."""
    from emberbox.vmm.firecracker.install.installation import install_wished

    return await install_wished(folder / _FOLDER, wish, step)


KIND = DriverKind(
    title="Firecracker",
    mark=MARK,
    serial=_SERIAL,
    make=make,
    absence=absence,
    lacks=lacks,
    merit="starts VMs faster and shuts them in more tightly",
    needs_kvm=True,
    install=install,
)
