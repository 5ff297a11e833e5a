"""Checks of what starts VMs and shuts them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Level, install_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.vmm.base import DriverReport

QEMU_PACKAGES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
"""Debian's package of QEMU by the host's architecture."""
_NEWEST_RESTRICTION = "kernel.apparmor_restrict_unprivileged_userns"
_OLD_RESTRICTION = "kernel.unprivileged_userns_clone"


def qemu_program(machine: str) -> str:
    """Return the name of QEMU's program for the host's architecture."""
    return f"qemu-system-{machine}"


def check_qemu(machine: str, path: str | None, version: str | None, *, needed: bool = True) -> Finding:
    """Judge QEMU.

    Args:
        machine: The host's architecture.
        path: Where its program is; None when it is missing.
        version: What it says of itself; None when it does not run.
        needed: Whether no other driver is used.
    """
    package = QEMU_PACKAGES.get(machine, "qemu-system")
    if path is not None and version is not None:
        return Finding(key="qemu", title="QEMU", level=Level.OK, found=version)
    if path is None:
        found, mend = f"{qemu_program(machine)} is not installed", install_command(package)
    else:
        found, mend = f"{path} does not run", install_command("--reinstall", package)
    if not needed:
        return Finding(key="qemu", title="QEMU", level=Level.OK, found=f"not used: {found}")
    return Finding(key="qemu", title="QEMU", level=Level.MISSING, found=found, follows="No VM can be started.", mend=mend)


def check_bubblewrap(path: str | None, version: str | None) -> Finding:
    """Judge bubblewrap, which shuts VMMs in; arguments as for `check_qemu`."""
    if path is None or version is None:
        found = "bwrap is not installed" if path is None else f"{path} does not run"
        follows = "No VM is started without being shut in."
        mend = install_command("bubblewrap") if path is None else install_command("--reinstall", "bubblewrap")
        return Finding(key="bubblewrap", title="Bubblewrap", level=Level.MISSING, found=found, follows=follows, mend=mend)
    return Finding(key="bubblewrap", title="Bubblewrap", level=Level.OK, found=version)


def check_acceleration(report: DriverReport) -> Finding:
    """Judge what VMs run on, by what probing the usable driver found."""
    if report.accelerator == "kvm":
        return Finding(key="acceleration", title="Acceleration", level=Level.OK, found=f"KVM: {report.reason}")
    follows = "VMs are emulated: computing takes 10 to 20 times as long; clones still start within tenths of a second."
    found = f"{(report.accelerator or 'none').upper()}: {report.reason}"
    return Finding(key="acceleration", title="Acceleration", level=Level.WARNING, found=found, follows=follows, mend=report.mend)


def check_confinement(*, as_root: bool, setpriv: str | None, namespaces: str | None, sysctls: Mapping[str, int]) -> Finding:
    """Judge whether VMMs can be shut in.

    Args:
        as_root: Whether we are root; then no user namespaces are needed, but setpriv is.
        setpriv: Where that program is; None when it is missing.
        namespaces: Why this user cannot make user namespaces; None when it can, tried by doing it.
        sysctls: The kernel's settings that may forbid them, as far as there are any.
    """
    if as_root:
        if setpriv is None:
            return _confinement(Level.MISSING, "setpriv is not installed", install_command("util-linux", as_root=True))
        return _confinement(Level.OK, "as root: namespaces, and an unprivileged user for each VMM")
    if namespaces is None:
        return _confinement(Level.OK, "user namespaces may be made by this user")
    return _confinement(Level.MISSING, f"this user may not make user namespaces: {namespaces}", _unlock(sysctls))


def _confinement(level: Level, found: str, mend: str | None = None) -> Finding:
    follows = None if level is Level.OK else "No VM is started without being shut in."
    return Finding(key="confinement", title="Confinement", level=level, found=found, follows=follows, mend=mend)


def _unlock(sysctls: Mapping[str, int]) -> str | None:
    if sysctls.get(_NEWEST_RESTRICTION) == 1:
        return f"sudo sysctl -w {_NEWEST_RESTRICTION}=0"
    if sysctls.get(_OLD_RESTRICTION) == 0:
        return f"sudo sysctl -w {_OLD_RESTRICTION}=1"
    if sysctls.get("user.max_user_namespaces") == 0:
        return "sudo sysctl -w user.max_user_namespaces=10000"
    return None
