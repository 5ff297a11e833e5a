"""QEMU as a driver that could be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.vmm.kind import DriverKind
from emberbox.vmm.qemu.program import MARK, packages

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.vmm.base import Driver
    from emberbox.vmm.guest_kernel import GuestKernel

_PL011 = 0x0900_0000


def make(settings: VmmSettings, folder: Path, kernel: GuestKernel | None) -> Driver:
    """Make the driver; does nothing on the host yet."""
    from emberbox.vmm.driver import options_of
    from emberbox.vmm.qemu.driver import QemuDriver

    return QemuDriver(folder, options_of(settings, kernel))


KIND = DriverKind(title="QEMU", mark=MARK, serial=_PL011, make=make, packages=packages)
