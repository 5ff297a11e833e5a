"""Finding out, once, what QEMU can do on this host."""

from __future__ import annotations

import asyncio
import platform
import subprocess
from pathlib import Path

from emberbox.errors import RequirementMissing
from emberbox.vmm import confinement, timestamp
from emberbox.vmm.acceleration import Acceleration, probe_acceleration
from emberbox.vmm.cgroup import Cgroups
from emberbox.vmm.jail import JailFiles, jail_root
from emberbox.vmm.qemu.arguments import Hardware
from emberbox.vmm.qemu.launch import QemuHost
from emberbox.vmm.remembered import remembered
from emberbox.vmm.requirements import MEND, find_program, require_programs

LAYOUT = 1
"""Raised whenever the arguments change in a way that breaks older snapshots."""
_FIRMWARE = ("bios-microvm.bin", "qboot.rom", "linuxboot_dma.bin", "pvh.bin", "kvmvapic.bin", "efi-virtio.rom")
_FIRMWARE_FOLDERS = (Path("/usr/share/qemu"), Path("/usr/share/seabios"), Path("/usr/share/qemu-efi-aarch64"))
_VERSION_S = 10.0


async def examine(
    folder: Path, *, confine: bool, accelerator: str | None, uid_base: int, cpus: float | None
) -> tuple[QemuHost, Acceleration]:
    """Find QEMU, its accelerator and its version, and make its jail root under `folder`.

    Raises `RequirementMissing` or `VmmStartFailed`.
    """
    architecture = platform.machine()
    if architecture not in ("x86_64", "aarch64"):
        raise RequirementMissing(f"virtual machines are not supported on {architecture} processors")
    name = f"qemu-system-{architecture}"
    required = [name, *(("bwrap", "setpriv") if confine else ())]
    found = require_programs(required, mend=MEND if architecture == "x86_64" else MEND.replace("-x86", "-arm"))
    acceleration = await _acceleration(folder, accelerator)
    small = find_program(f"{name}-microvm")
    binary = small if acceleration.name == "kvm" and small is not None else found[name]
    return await asyncio.to_thread(_assemble, folder, binary, architecture, acceleration, confine, uid_base, cpus), acceleration


async def _acceleration(folder: Path, wanted: str | None) -> Acceleration:
    if wanted is not None:
        return Acceleration(wanted, f"{wanted}, as set")
    return await probe_acceleration(folder / "acceleration.json")


def _assemble(
    folder: Path, binary: Path, architecture: str, acceleration: Acceleration, confine: bool, uid_base: int, cpus: float | None
) -> QemuHost:
    root = jail_root(folder, jail_files(binary, acceleration.name, architecture)) if confine else None
    cgroups = Cgroups()
    found = remembered(
        folder / f"{binary.name}.json", binary, lambda: {"version": read_version(binary), "tsc_khz": timestamp.tsc_khz()}
    )
    hardware = Hardware(
        binary=str(binary),
        accelerator=acceleration.name,
        architecture=architecture,
        tsc_khz=found["tsc_khz"] if acceleration.name == "tcg" else None,
    )
    return QemuHost(
        binary=binary,
        hardware=hardware,
        version=f"QEMU {found['version']}, {hardware.accelerator}, {hardware.processor}, layout {LAYOUT}",
        jail=root,
        cgroups=cgroups if confine and cgroups.prepare() else None,
        uid_base=uid_base,
        cpus=cpus,
    )


def jail_files(binary: Path, accelerator: str, architecture: str) -> JailFiles:
    """Return what QEMU needs of the host's files."""
    firmware = tuple(p for folder in _FIRMWARE_FOLDERS for name in _FIRMWARE if (p := folder / name).exists())
    # Distributions build the accelerators as plugins, in a folder beside the libraries.
    names = (f"accel-{accelerator}-{architecture}.so", f"accel-{accelerator}-i386.so" if "microvm" in binary.name else "")
    folders = [
        binary.parent.parent / "lib" / f"{architecture}-linux-gnu" / "qemu",
        Path("/usr/lib64/qemu"),
        Path("/usr/lib/qemu"),
    ]
    plugins = tuple(p for folder in folders for name in names if name and (p := folder / name).exists())
    return JailFiles(programs=(binary, confinement.SETPRIV), plugins=plugins, data=firmware)


def read_version(binary: Path) -> str:
    """Return QEMU's version with its package's, such as `7.2.22 (Debian 1:7.2+dfsg-7)`. Raises `RequirementMissing`."""
    try:
        told = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=True).stdout
        return told.splitlines()[0].removeprefix("QEMU emulator version ").strip()
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise RequirementMissing(f"{binary} does not run on this host", mend=MEND, detail=str(error)) from error
