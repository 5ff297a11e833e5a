"""The drivers that must keep the contract of these tests. A new driver is one entry of `KINDS`."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from emberbox.config import VmmSettings, load_settings
from emberbox.vmm.registry import make_driver
from tests.peers.binaries import make_binaries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.vmm.base import Driver

REAL = "EMBERBOX_TEST_FIRECRACKER"
"""Variable that has the contract tested on a real Firecracker alone; set by `make test-firecracker`."""
REAL_CHOSEN = os.environ.get(REAL) == "1"
PEER_VERSION = "1.17.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A driver under test.

    Args:
        name: In the tests' ids.
        settings: What has an engine take this driver.
        prepare: Puts what the driver needs into a fresh data folder; None for a driver that takes
            what the tests keep.
        absent: Says why the driver cannot be tested by this user; None when it can.
        peer: Whether a stand-in answers for the VMM: it sees the host's programs, filters no
            system calls, and has no memory to plug in.
    """

    name: str
    settings: Callable[[], VmmSettings]
    prepare: Callable[[Path], None] | None = None
    absent: Callable[[], str | None] = lambda: None
    peer: bool = False

    def driver(self, data: Path) -> Driver:
        """Make the driver, with what is in the data folder."""
        settings = self.settings()
        return make_driver(settings.driver, settings, data)


@cache
def _own() -> Settings:
    """Return the settings of who runs the tests, where a real Firecracker is named or installed."""
    return load_settings()


def _real_settings() -> VmmSettings:
    own = _own().vmm
    return VmmSettings(driver="firecracker", firecracker=own.firecracker, jailer=own.jailer)


def _take_installed(data: Path) -> None:
    """Use the programs that `emberbox setup --vmm firecracker` installed.

    Without them the driver looks for both programs on PATH.
    """
    installed = _own().data / "vmm/firecracker"
    if installed.is_dir():
        shutil.copytree(installed, data / "vmm/firecracker", symlinks=True)


def _install_peers(data: Path) -> None:
    make_binaries(data / "vmm/firecracker" / PEER_VERSION, version=PEER_VERSION)


def _needs_root() -> str | None:
    return None if os.geteuid() == 0 else "the jailer, and so its peer, needs root"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="qemu", settings=lambda: VmmSettings(driver="qemu")),
        Kind(
            name="firecracker-peer",
            settings=lambda: VmmSettings(driver="firecracker", accelerator="kvm", kvm_kind="hardware"),
            prepare=_install_peers,
            absent=_needs_root,
            peer=True,
        ),
        Kind(name="firecracker", settings=_real_settings, prepare=_take_installed),
    )
}


def chosen() -> list[str]:
    """Return the names of the kinds that this run tests."""
    if REAL_CHOSEN:
        _own()  # read now: the tests take all settings out of the environment
        return ["firecracker"]
    return [name for name in KINDS if name != "firecracker"]
