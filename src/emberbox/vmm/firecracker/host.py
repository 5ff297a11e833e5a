"""Finding out, once, what Firecracker can do on this host."""

from __future__ import annotations

import asyncio
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.vmm.driver import VmmHost, users_of
from emberbox.vmm.firecracker.install.release import INSTALL, LEAST_VERSION, installed, parse_version
from emberbox.vmm.firecracker.jailer.entry import write_entry
from emberbox.vmm.firecracker.jailer.rights import check_rights
from emberbox.vmm.kvm.acceleration import cpu_model, find_acceleration
from emberbox.vmm.kvm.kinds import look_at_kvm
from emberbox.vmm.process.bounds import all_limits
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.process.confinement import PACKAGES
from emberbox.vmm.remembered import remembered
from emberbox.vmm.requirements import find_program, require_programs, told_by

if TYPE_CHECKING:
    from emberbox.vmm.driver import DriverOptions
    from emberbox.vmm.kvm.acceleration import Acceleration

LAYOUT = 1
"""Raised whenever what machines are configured with changes in a way that breaks older snapshots."""
_CLOCK_KERNEL = (5, 16)
"""First host kernel with KVM_CLOCK_REALTIME."""
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_DEAF_AFTER_PAUSE = frozenset({"1.16.0", "1.16.1"})
"""Releases whose vsock takes in nothing from the host any more once a machine was paused and went
on (its issue 6074)."""
_VERSION = r"\d+\.\d+\.\d+"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirecrackerHost(VmmHost):
    """What the driver found out about this host, once.

    What a snapshot must match is Firecracker and snapshot format, processor and kernel of the host.

    Args:
        firecracker: The binary.
        entry: The program that the jailer starts, and that becomes the binary.
        jailer: Its jailer, of the same version.
        release: Firecracker's version.
        clock: Whether the host's kernel can move a restored guest's clock on.
        unknown: Fields of the API that this release was found not to know.
    """

    firecracker: Path
    entry: Path
    jailer: Path
    release: str
    clock: bool
    unknown: set[str] = field(default_factory=set)

    @property
    def pauses(self) -> bool:
        """Whether a machine can be spoken to once it was paused and went on."""
        return self.release not in _DEAF_AFTER_PAUSE


async def examine(
    folder: Path, options: DriverOptions, *, firecracker: Path | None, jailer: Path | None
) -> tuple[FirecrackerHost, Acceleration]:
    """Find Firecracker and its jailer, and prove that KVM runs guests.

    Raises `RequirementMissing` for the first that is missing.

    Args:
        folder: `<data>/vmm`.
        options: The driver's; without an accelerator, KVM is proven by running code.
        firecracker: The binary; None to look below `folder` and on PATH.
        jailer: Its jailer; the same.
    """
    if platform.machine() not in ("x86_64", "aarch64"):
        raise RequirementMissing(f"Firecracker does not run on {platform.machine()} processors")
    binaries = find_binaries(folder, firecracker, jailer)
    if os.geteuid() != 0:
        raise RequirementMissing(
            "Firecracker's jailer needs root; run Emberbox as root to use Firecracker", mend="sudo -i"
        )
    require_programs(PACKAGES, mend="apt-get install -y bubblewrap util-linux")
    check_mount(folder)
    acceleration = await _acceleration(folder, options)
    await asyncio.to_thread(check_rights, folder, options.uid_base)
    return await asyncio.to_thread(_assemble, folder, *binaries, options), acceleration


def find_binaries(folder: Path, firecracker: Path | None, jailer: Path | None) -> tuple[Path, Path]:
    """Return Firecracker and its jailer: those given, else those below `folder`, else those on PATH.

    Looks at files alone, so it costs next to nothing. Raises `RequirementMissing`.
    """
    found = None if firecracker is not None and jailer is not None else installed(folder / "firecracker")
    return (
        _program("firecracker", firecracker, None if found is None else found.firecracker),
        _program("jailer", jailer, None if found is None else found.jailer),
    )


def check_mount(folder: Path) -> None:
    """Raise `RequirementMissing` where `folder`'s file system takes no devices or runs no programs."""
    place = folder
    while not place.exists():
        place = place.parent
    flags = os.statvfs(place).f_flag
    for flag, name in ((os.ST_NODEV, "nodev"), (os.ST_NOEXEC, "noexec")):
        if flags & flag:
            raise RequirementMissing(
                f"{place} is mounted with {name}, but Firecracker's jails hold its program and the device "
                "/dev/kvm; mount it without, or set EMBERBOX_DATA to a folder on another file system",
                mend=f"mount -o remount,{name.removeprefix('no')} $(findmnt -n -o TARGET -T {place})",
            )


def _program(name: str, given: Path | None, installed: Path | None) -> Path:
    path = given or installed or find_program(name)
    if path is None:
        raise RequirementMissing(f"{name} is not installed", mend=INSTALL)
    if not path.is_file() or not os.access(path, os.X_OK):
        raise RequirementMissing(f"{path} is not a program; it should be {name}", mend=INSTALL)
    return path.resolve()


async def _acceleration(folder: Path, options: DriverOptions) -> Acceleration:
    kvm = look_at_kvm(told=options.kvm_kind)
    found = await find_acceleration(folder, options.accelerator, kernel=options.kernel, kvm=kvm)
    if found.name != "kvm":
        raise RequirementMissing(
            f"Firecracker needs KVM: {found.reason.removeprefix('software emulation: ')}"
        )
    return found


def _assemble(folder: Path, firecracker: Path, jailer: Path, options: DriverOptions) -> FirecrackerHost:
    told = remembered(
        folder / "firecracker.json",
        firecracker,
        lambda: {
            "release": _version(firecracker),
            "snapshot": _version(firecracker, "--snapshot-version"),
        },
    )
    release = str(told["release"])
    if (parse_version(release) or (0,)) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise RequirementMissing(
            f"{firecracker} is Firecracker {release}; {least} or newer is needed", mend=INSTALL
        )
    jailers = str(
        remembered(folder / "jailer.json", jailer, lambda: {"release": _version(jailer)})["release"]
    )
    if jailers != release:
        raise RequirementMissing(
            f"{jailer} is of version {jailers}, but Firecracker of {release}", mend=INSTALL
        )
    cgroups = Cgroups(most=all_limits())
    groups = cgroups if cgroups.prepare() else None
    host = f"{cpu_model()}, Linux {os.uname().release}"
    return FirecrackerHost(
        firecracker=firecracker,
        entry=_entry(folder),
        jailer=jailer,
        release=release,
        version=f"Firecracker {release}, snapshot {told['snapshot']}, {host}, layout {LAYOUT}",
        cgroups=groups,
        options=options,
        users=users_of(options, groups),
        clock=moves_clocks(_CLOCK_SOURCE),
    )


def _entry(folder: Path) -> Path:
    try:
        return write_entry(folder / "entry")
    except OSError as error:
        raise RequirementMissing(
            f"{folder} cannot be written ({error.strerror})", detail=str(error)
        ) from error


def _version(program: Path, option: str = "--version") -> str:
    return told_by(program, option, pattern=_VERSION, mend=INSTALL)


def moves_clocks(source: Path) -> bool:
    """Return whether this host's KVM can move a restored guest's clock on, by its clock's `source`.

    KVM puts the time of day into a snapshot only where the host counts by the TSC (the kernel's
    Documentation/virt/kvm/api.rst, KVM_GET_CLOCK). Without it a guest would be moved on from 1970.
    Elsewhere the agent alone sets the clock.
    """
    try:
        told = source.read_text().strip()
    except OSError:
        return False
    return platform.machine() == "x86_64" and _kernel() >= _CLOCK_KERNEL and told == "tsc"


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
