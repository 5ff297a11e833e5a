"""Checks of how Firecracker is shut in: its jailer, VMMs' users, seccomp, and what bounds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.doctor.finding import Finding, Row
from emberbox.doctor.trials.machine import CONSOLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.config import VmmSettings
    from emberbox.doctor.checks.drivers import Drivers
    from emberbox.doctor.hostfiles import HostFiles
    from emberbox.doctor.trials.machine import MachineTrial
    from emberbox.doctor.trials.walls import Walls
    from emberbox.vmm.base import DriverReport

_SECCOMP = ("trap", "kill_process")
_QEMU_RUNS = "VMs run in QEMU, which bubblewrap shuts in."
_UNFILTERED = "A VMM that a guest has taken over may call all of the kernel."


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Users' or groups' numbers that somebody has.

    Args:
        file: The file in /etc that says so.
        owner: Whose they are.
        first: The first one.
        count: How many.
    """

    file: str
    owner: str
    first: int
    count: int = 1


def check_jailer(report: DriverReport, drivers: Drivers, *, kvm: bool) -> Finding:
    """Judge whether VMMs run under Firecracker's jailer.

    Args:
        report: What probing that driver found.
        drivers: Which one is used, and what became of a VM of it.
        kvm: Whether KVM works; else there is nothing to mend.
    """
    row = Row("jailer", "Jailer")
    if report.usable and drivers.name != "firecracker":
        found = f"{drivers.name} is used, though this could be: {report.version}"
        return row.warning(found, _QEMU_RUNS, "export EMBERBOX_VMM_DRIVER=auto")
    if report.usable and drivers.trial is not None and drivers.trial.problem is None:
        return row.ok(f"a VMM was started by it, and its guest ran: {report.version}")
    if report.usable:
        why = "" if drivers.trial is None else f": {drivers.trial.problem}"
        return row.warning(f"no VMM runs under it{why}", "No VM can be started.")
    mend = report.mend if kvm else None
    return row.warning(f"Firecracker is not used: {report.reason}", _QEMU_RUNS, mend)


def taken_numbers(files: HostFiles) -> list[Numbers] | None:
    """Return the numbers that accounts have, and the ranges that are lent to them.

    None stands for a host without a list of accounts.
    """
    if files.read("etc/passwd") is None:
        return None
    found = []
    for file, single in (("passwd", True), ("group", True), ("subuid", False), ("subgid", False)):
        for line in files.lines(f"etc/{file}"):
            fields = line.split(":")
            numbers = fields[2:3] if single else fields[1:3]
            if len(fields) > 2 and all(number.isdecimal() for number in numbers):
                count = 1 if single else int(numbers[1])
                found.append(Numbers(file=file, owner=fields[0], first=int(numbers[0]), count=count))
    return found


def check_users(base: int, taken: Sequence[Numbers] | None, walls: Walls | None, *, as_root: bool) -> Finding:
    """Judge whether each VMM has a user of its own.

    Args:
        base: `vmm.uid_base`.
        taken: What belongs to others; None when that cannot be seen.
        walls: What a VMM was shut in by; None where none ran.
        as_root: Whether Emberbox runs as root; else all VMMs have its user.
    """
    row = Row("users", "VMMs' users")
    if not as_root:
        return row.warning(
            "each VMM has the user that Emberbox runs as",
            "A VMM that broke out may touch all that is this user's, other VMs too. Run the service as root.",
        )
    span = f"{base} to {base + UID_COUNT - 1}"
    if walls is not None and not base <= walls.uid < base + UID_COUNT:
        return row.warning(f"a VMM had uid {walls.uid}, which is none of {span}", "It may be somebody's.")
    if taken is None:
        return row.unknown(f"{span}; /etc/passwd cannot be read")
    clash = next((numbers for numbers in taken if _overlap(base, numbers)), None)
    if clash is None and walls is None:
        return row.unknown(f"{span}; no account has any of them, and no VM ran to be looked at")
    if clash is None:
        return row.ok(f"{span}: a VM had one, and no account has any of them")
    return row.warning(
        f"{span}; /etc/{clash.file} gives {clash.first} to {clash.first + clash.count - 1} to {clash.owner}",
        "That account may touch VMs, and a VMM that broke out its files.",
        f"export EMBERBOX_VMM_UID_BASE={_free_base(taken)}",
    )


def _overlap(base: int, numbers: Numbers) -> bool:
    return numbers.first < base + UID_COUNT and base < numbers.first + numbers.count


def _free_base(taken: Sequence[Numbers]) -> int:
    base = UID_BASE
    while any(_overlap(base, numbers) for numbers in taken):
        base += UID_COUNT
    return base


def check_seccomp(actions: str | None, walls: Walls | None) -> Finding:
    """Judge whether the kernel filters VMMs' system calls.

    Args:
        actions: What it can do to one that is not allowed; None when it does not tell.
        walls: What a VMM was shut in by; None where none ran.
    """
    row = Row("seccomp", "Seccomp")
    if actions is None:
        return row.unknown(
            "cannot be seen: there is no kernel.seccomp.actions_avail",
            "Firecracker does not start without it.",
        )
    missing = [action for action in _SECCOMP if action not in actions.split()]
    if missing:
        return row.warning(f"this kernel cannot {', '.join(missing)}", _UNFILTERED)
    if walls is None:
        return row.unknown("no VM ran to be looked at")
    if not walls.filtered:
        return row.warning("a VMM that was looked at has no filter", _UNFILTERED)
    return row.ok("a VMM was looked at: the kernel filters its system calls")


def check_output(trial: MachineTrial | None) -> Finding:
    """Judge whether what a guest writes is bounded.

    Args:
        trial: A guest that never stopped writing; None where none ran.
    """
    row = Row("output", "Console and log")
    if trial is None or trial.walls is None:
        return row.unknown("no VM ran to be looked at")
    if trial.console_bytes > CONSOLE_BYTES:
        found = f"a guest wrote {trial.console_bytes} bytes, and {CONSOLE_BYTES} were allowed"
        return row.warning(found, "It may fill the disk.")
    return row.ok(f"a guest wrote without end: of that, the first {CONSOLE_BYTES} bytes were kept, as asked")


def check_rates(settings: VmmSettings) -> Finding:
    """Judge whether one VM can take all of the disk's speed. Sandboxes have no network to flood."""
    row = Row("rates", "Rates")
    if settings.disk_mib_per_s or settings.disk_ops_per_s:
        return row.ok("each drive is bounded; VMs have no network")
    return row.warning(
        "no bound for a VM's drives; VMs have no network",
        "One VM can slow all others down by reading. Set it for the service as well.",
        "export EMBERBOX_VMM_DISK_MIB_PER_S=200",
    )


def check_jails(
    files: HostFiles,
    settings: VmmSettings,
    report: DriverReport,
    drivers: Drivers,
    *,
    kvm: bool,
    as_root: bool,
) -> list[Finding]:
    """Look at all of it."""
    walls = None if drivers.trial is None else drivers.trial.walls
    return [
        check_jailer(report, drivers, kvm=kvm),
        check_users(settings.uid_base, taken_numbers(files), walls, as_root=as_root),
        check_seccomp(files.read("proc/sys/kernel/seccomp/actions_avail"), walls),
        check_output(drivers.trial),
        check_rates(settings),
    ]
