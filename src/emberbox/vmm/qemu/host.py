"""Finding out, once, what QEMU can do on this host."""

from __future__ import annotations

import asyncio
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import RequirementMissing
from emberbox.vmm import timestamp
from emberbox.vmm.driver import users_of
from emberbox.vmm.kvm.acceleration import find_acceleration
from emberbox.vmm.kvm.kinds import look_at_kvm
from emberbox.vmm.kvm.node import DEVICE, check_node
from emberbox.vmm.process import confinement
from emberbox.vmm.process.bounds import all_limits
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.process.jail import JailFiles, jail_root
from emberbox.vmm.qemu.arguments import Hardware
from emberbox.vmm.qemu.launch import QemuHost
from emberbox.vmm.qemu.processor import known_flags, processor_vendor
from emberbox.vmm.qemu.program import mend, program
from emberbox.vmm.remembered import remembered
from emberbox.vmm.requirements import require_programs, told_by

if TYPE_CHECKING:
    from emberbox.vmm.driver import DriverOptions
    from emberbox.vmm.kvm.acceleration import Acceleration

LAYOUT = 2
"""Raised whenever the arguments change in a way that breaks older snapshots."""
_FIRMWARE = (
    "bios-microvm.bin",
    "qboot.rom",
    "linuxboot_dma.bin",
    "pvh.bin",
    "kvmvapic.bin",
    "efi-virtio.rom",
)
_FIRMWARE_FOLDERS = (Path("/usr/share/qemu"), Path("/usr/share/seabios"), Path("/usr/share/qemu-efi-aarch64"))


async def examine(
    folder: Path,
    options: DriverOptions,
    *,
    confine: bool,
    device: Path = DEVICE,
) -> tuple[QemuHost, Acceleration]:
    """Find QEMU, its accelerator and its version, and make its jail root under `folder`.

    With KVM, also try whether VMMs can be let at its node, `device`.

    Raises `RequirementMissing` or `VmmStartFailed`.
    """
    architecture = platform.machine()
    if architecture not in ("x86_64", "aarch64"):
        raise RequirementMissing(f"virtual machines are not supported on {architecture} processors")
    name = program(architecture)
    found = require_programs([name, *(confinement.PACKAGES if confine else ())], mend=mend(architecture))
    kvm, kernel = look_at_kvm(told=options.kvm_kind), options.kernel
    acceleration = await find_acceleration(folder, options.accelerator, kernel=kernel, kvm=kvm, device=device)
    # Not Debian's smaller build for this machine type, qemu-system-x86_64-microvm: it cannot filter
    # its own system calls.
    pair = architecture, acceleration.name
    host = await asyncio.to_thread(_assemble, folder, found[name], *pair, options, confine=confine)
    if acceleration.name == "kvm" and confine:
        await asyncio.to_thread(check_node, None if os.geteuid() else options.uid_base, folder, device)
    return replace(host, kvm=device), acceleration


def _assemble(
    folder: Path, binary: Path, architecture: str, accelerator: str, options: DriverOptions, *, confine: bool
) -> QemuHost:
    root = jail_root(folder, jail_files(binary, accelerator, architecture)) if confine else None
    cgroups = Cgroups(most=all_limits())
    groups = cgroups if confine and cgroups.prepare() else None
    found = remembered(folder / f"{binary.name}.json", binary, lambda: _look_at(binary))
    emulated = accelerator == "tcg"
    clock = remembered(folder / "clock.json", binary, _look_at_clock) if emulated else {"tsc_khz": None}
    hardware = Hardware(
        binary=str(binary),
        accelerator=accelerator,
        architecture=architecture,
        tsc_khz=clock["tsc_khz"],
        known_flags=tuple(found["known_flags"]),
        vendor="" if emulated else processor_vendor(),
    )
    return QemuHost(
        binary=binary,
        hardware=hardware,
        version=f"QEMU {found['version']}, {hardware.accelerator}, {hardware.processor}, layout {LAYOUT}",
        jail=root,
        cgroups=groups,
        options=options,
        users=users_of(options, groups) if confine and os.geteuid() == 0 else None,
    )


def _look_at(binary: Path) -> dict[str, Any]:
    return {"version": read_version(binary), "known_flags": known_flags(binary)}


def _look_at_clock() -> dict[str, Any]:
    try:
        return {"tsc_khz": timestamp.tsc_khz()}
    except OSError as error:
        raise RequirementMissing(
            "this system lets no process make code to run, and without hardware virtualization that is how "
            "VMs work: allow it for Emberbox",
            detail=str(error),
        ) from error


def jail_files(binary: Path, accelerator: str, architecture: str) -> JailFiles:
    """Return what QEMU needs of the host's files."""
    firmware = tuple(p for folder in _FIRMWARE_FOLDERS for name in _FIRMWARE if (p := folder / name).exists())
    # Distributions build the accelerators as plugins, in a folder beside the libraries.
    name = f"accel-{accelerator}-{architecture}.so"
    folders = [
        binary.parent.parent / "lib" / f"{architecture}-linux-gnu" / "qemu",
        Path("/usr/lib64/qemu"),
        Path("/usr/lib/qemu"),
    ]
    plugins = tuple(p for folder in folders if (p := folder / name).exists())
    devices = (DEVICE,) if accelerator == "kvm" else ()
    return JailFiles(
        programs=(binary, confinement.SETPRIV), plugins=plugins, data=firmware, mount_points=devices
    )


def read_version(binary: Path) -> str:
    """Return QEMU's version with its package's, such as `7.2.22 (Debian 1:7.2+dfsg-7)`.

    Raises `RequirementMissing`.
    """
    told = told_by(binary, "--version", pattern=r"\S.*", mend=mend(platform.machine()))
    return told.removeprefix("QEMU emulator version ").strip()
