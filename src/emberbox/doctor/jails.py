"""Checks of how Firecracker is shut in: its jailer, the users that VMMs run as, seccomp, and what bounds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.config import VmmSettings
    from emberbox.doctor.hostfiles import HostFiles
    from emberbox.vmm.base import DriverReport

SLOTS = 10_000
"""How many uids and gids belong to VMMs, from `vmm.uid_base` on."""
_SECCOMP = ("trap", "kill_process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Users' or groups' numbers that somebody has: the file that says so, whose they are, the first, and how many."""

    file: str
    owner: str
    first: int
    count: int = 1


def check_jailer(report: DriverReport, *, kvm: bool) -> Finding:
    """Judge whether VMMs run under Firecracker's jailer.

    Args:
        report: What probing that driver found.
        kvm: Whether KVM works; else there is nothing to mend.
    """
    key, title = "jailer", "Jailer"
    if report.usable:
        found = f"each VMM is started by it: {report.version}"
        return Finding(key=key, title=title, level=Level.OK, found=found)
    return Finding(
        key=key, title=title, level=Level.WARNING, found=f"Firecracker is not used: {report.reason}",
        follows="VMs run in QEMU, which bubblewrap shuts in.", mend=report.mend if kvm else None,
    )  # fmt: skip


def taken_numbers(files: HostFiles) -> list[Numbers] | None:
    """Return the numbers that accounts have, and the ranges that are lent to them; None when there is no list of accounts."""
    if files.read("etc/passwd") is None:
        return None
    found = []
    for file, single in (("passwd", True), ("group", True), ("subuid", False), ("subgid", False)):
        for line in files.lines(f"etc/{file}"):
            fields = line.split(":")
            numbers = fields[2:3] if single else fields[1:3]
            if len(fields) > 2 and all(number.isdecimal() for number in numbers):
                found.append(Numbers(file=file, owner=fields[0], first=int(numbers[0]), count=1 if single else int(numbers[1])))
    return found


def check_users(base: int, taken: Sequence[Numbers] | None) -> Finding:
    """Judge whether each VMM has a user of its own.

    Args:
        base: `vmm.uid_base`.
        taken: What belongs to others; None when that cannot be seen.
    """
    key, title = "users", "VMMs' users"
    span = f"{base} to {base + SLOTS - 1}"
    if taken is None:
        return Finding(key=key, title=title, level=Level.UNKNOWN, found=f"{span}; /etc/passwd cannot be read")
    clash = next((numbers for numbers in taken if _overlap(base, numbers)), None)
    if clash is None:
        return Finding(key=key, title=title, level=Level.OK, found=f"{span}: one for each VM, and no account has any of them")
    return Finding(
        key=key, title=title, level=Level.WARNING,
        found=f"{span}; /etc/{clash.file} gives {clash.first} to {clash.first + clash.count - 1} to {clash.owner}",
        follows="That account may touch VMs, and a VMM that broke out its files.",
        mend=f"export EMBERBOX_VMM_UID_BASE={_free_base(taken)}",
    )  # fmt: skip


def _overlap(base: int, numbers: Numbers) -> bool:
    return numbers.first < base + SLOTS and base < numbers.first + numbers.count


def _free_base(taken: Sequence[Numbers]) -> int:
    base = 790_000
    while any(_overlap(base, numbers) for numbers in taken):
        base += SLOTS
    return base


def check_seccomp(actions: str | None) -> Finding:
    """Judge whether the kernel filters system calls, by its list of actions."""
    key, title = "seccomp", "Seccomp"
    if actions is None:
        return Finding(
            key=key, title=title, level=Level.UNKNOWN, found="cannot be seen: there is no kernel.seccomp.actions_avail",
            follows="Firecracker does not start without it.",
        )  # fmt: skip
    missing = [action for action in _SECCOMP if action not in actions.split()]
    if missing:
        found, follows = (
            f"this kernel cannot {', '.join(missing)}",
            "A VMM that a guest has taken over may call all of the kernel.",
        )
        return Finding(key=key, title=title, level=Level.WARNING, found=found, follows=follows)
    found = "the kernel filters, and Firecracker runs with its own, most restrictive filter"
    return Finding(key=key, title=title, level=Level.OK, found=found)


def check_output() -> Finding:
    """Say how what a VMM and its guest write is bounded: so it is built, and no host's setting changes it."""
    found = "of what a guest writes to its serial port, and a VMM to its log, only the first 256 KiB are kept"
    return Finding(key="output", title="Console and log", level=Level.OK, found=found)


def check_rates(settings: VmmSettings) -> Finding:
    """Judge whether one VM can take all of the disk's speed. Sandboxes have no network to flood."""
    key, title = "rates", "Rates"
    if settings.disk_mib_per_s or settings.disk_ops_per_s:
        return Finding(key=key, title=title, level=Level.OK, found="each drive is bounded; VMs have no network")
    return Finding(
        key=key, title=title, level=Level.WARNING, found="no bound for a VM's drives; VMs have no network",
        follows="One VM can slow all others down by reading. Set it for the service as well.",
        mend="export EMBERBOX_VMM_DISK_MIB_PER_S=200",
    )  # fmt: skip


def check_jails(files: HostFiles, settings: VmmSettings, report: DriverReport, *, kvm: bool) -> list[Finding]:
    """Look at all of it."""
    return [
        check_jailer(report, kvm=kvm),
        check_users(settings.uid_base, taken_numbers(files)),
        check_seccomp(files.read("proc/sys/kernel/seccomp/actions_avail")),
        check_output(),
        check_rates(settings),
    ]
