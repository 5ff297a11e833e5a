"""Checks of what starts VMs and shuts them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import Row, install_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.doctor.finding import Finding
    from emberbox.doctor.trials.walls import Walls
    from emberbox.vmm.base import DriverReport
    from emberbox.vmm.kvm.acceleration import Acceleration

_CONFINEMENT = Row("confinement", "Confinement")
_NEWEST_RESTRICTION = "kernel.apparmor_restrict_unprivileged_userns"
_OLD_RESTRICTION = "kernel.unprivileged_userns_clone"


def check_program(
    driver: str,
    title: str,
    program: str,
    package: str,
    path: str | None,
    version: str | None,
    *,
    needed: bool = True,
    follows: str = "No VM can be started.",
) -> Finding:
    """Judge a VMM, or another program, that a package brings.

    Args:
        driver: The driver that needs it.
        title: That driver's name for people.
        program: The program.
        package: Debian's package of it.
        path: Where it is; None when it is missing.
        version: What it says of itself; None when it does not run.
        needed: Whether no other driver is used.
        follows: What follows where it is missing.
    """
    row = Row(driver, title)
    if path is not None and version is not None:
        return row.ok(version)
    if path is None:
        found, mend = f"{program} is not installed", install_command(package)
    else:
        found, mend = f"{path} does not run", install_command("--reinstall", package)
    if not needed:
        return row.ok(f"not used: {found}")
    return row.missing(found, follows, mend)


def check_bubblewrap(path: str | None, version: str | None) -> Finding:
    """Judge bubblewrap, which shuts VMMs in; arguments as for `check_program`."""
    follows = "No VM is started without being shut in."
    return check_program("bubblewrap", "Bubblewrap", "bwrap", "bubblewrap", path, version, follows=follows)


def check_acceleration(report: DriverReport, real: Acceleration | None = None) -> Finding:
    """Judge what VMs run on.

    Args:
        report: What probing the usable driver found.
        real: What running code in KVM told where KVM is set, so that the driver did not ask; None
            where it did.
    """
    row = Row("acceleration", "Acceleration")
    if report.accelerator == "kvm" and real is not None and real.name != "kvm":
        return row.missing(
            f"KVM, as set by vmm.accelerator; {real.reason.removeprefix('software emulation: ')}",
            "No guest runs that is of use. auto takes what works.",
            "export EMBERBOX_VMM_ACCELERATOR=auto",
        )
    if report.accelerator == "kvm":
        return row.ok(f"KVM: {report.reason if real is None else real.reason}")
    follows = (
        "VMs are emulated: computing takes 10 to 20 times as long;"
        " clones still start within tenths of a second."
    )
    found = f"{(report.accelerator or 'none').upper()}: {report.reason}"
    return row.warning(found, follows, report.mend)


def check_confinement(
    *,
    as_root: bool,
    setpriv: str | None,
    namespaces: str | None,
    sysctls: Mapping[str, int],
    walls: Walls | None,
    uids: range,
) -> Finding:
    """Judge whether VMMs are shut in, by looking at one.

    Where none ran, a program in its place is what counts.

    Args:
        as_root: Whether we are root; then no user namespaces are needed, but setpriv is.
        setpriv: Where that program is; None when it is missing.
        namespaces: Why a program cannot be shut in as a VMM is; None when one was. Not looked at
            where there are `walls`.
        sysctls: The kernel's settings that may forbid user namespaces, as far as there are any.
        walls: What a VMM was shut in by; None where none ran.
        uids: The users of which this VMM should have had one.
    """
    if walls is not None:
        return _seen(walls, uids, as_root=as_root)
    if as_root and setpriv is None:
        return _open("setpriv is not installed", install_command("util-linux", as_root=True))
    if namespaces is None:
        return _CONFINEMENT.ok("a program was shut in as VMMs are; no VM ran to be looked at")
    if as_root:
        return _open(f"a program cannot be shut in: {namespaces}")
    return _open(f"this user cannot shut a program in: {namespaces}", _unlock(sysctls))


def _seen(walls: Walls, uids: range, *, as_root: bool) -> Finding:
    holes = []
    if walls.uid not in uids:
        wanted = str(uids[0]) if len(uids) == 1 else f"one of {uids[0]} to {uids[-1]}"
        holes.append(f"it runs as uid {walls.uid}, not {wanted}")
    if walls.shared:
        holes.append(f"it shares with the host: {', '.join(walls.shared)}")
    if walls.capable or walls.gains:
        holes.append("it has rights, or can gain some")
    if not walls.filtered:
        holes.append("the kernel does not filter its system calls")
    if holes:
        follows = "A VMM that a guest has taken over may do more on this host than it should."
        found = f"a VMM was looked at: {'; '.join(holes)}"
        return _CONFINEMENT.warning(found, follows)
    user = f"uid {walls.uid}, its own" if as_root else f"uid {walls.uid}, this user's"
    spaces = (
        "namespaces of its own" if walls.shared is not None else "namespaces (not to be seen by this user)"
    )
    return _CONFINEMENT.ok(f"a VMM was looked at: {user}; {spaces}; no rights; system calls filtered")


def _open(found: str, mend: str | None = None) -> Finding:
    return _CONFINEMENT.missing(found, "No VM is started without being shut in.", mend)


def _unlock(sysctls: Mapping[str, int]) -> str | None:
    if sysctls.get(_NEWEST_RESTRICTION) == 1:
        return f"sudo sysctl -w {_NEWEST_RESTRICTION}=0"
    if sysctls.get(_OLD_RESTRICTION) == 0:
        return f"sudo sysctl -w {_OLD_RESTRICTION}=1"
    if sysctls.get("user.max_user_namespaces") == 0:
        return "sudo sysctl -w user.max_user_namespaces=10000"
    return None
