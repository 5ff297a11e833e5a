"""Checks of the host's kernel: whether it is one that gets corrections, and whether it has got them.

Source: Firecracker's docs/prod-host-setup.md and docs/kernel-policy.md.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.doctor.hostfiles import HostFiles

LONG_TERM = ((5, 10), (5, 15), (6, 1), (6, 6), (6, 12), (6, 18))
TESTED = ((5, 10), (6, 1))
"""Those that Firecracker's own tests run on."""
OLD_DAYS = 180
_ISO = re.compile(r"\((\d{4})-(\d\d)-(\d\d)\)")
_ENGLISH = re.compile(r"\b([A-Z][a-z]{2})\s+(\d{1,2})\s+[\d:]{8}\s+(?:\S+\s+)?(\d{4})\b")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def check_release(release: str | None) -> Finding:
    """Judge the kernel by what `uname -r` says."""
    row = Row("kernel", "Kernel")
    numbers = re.match(r"(\d+)\.(\d+)", release or "")
    if numbers is None:
        return row.unknown(f"its version cannot be read from {release!r}")
    version = (int(numbers[1]), int(numbers[2]))
    if version in TESTED:
        return row.ok(f"{release}: long-term, and Firecracker is tested on it")
    if version in LONG_TERM:
        return row.ok(f"{release}: long-term; Firecracker's own tests run on 5.10 and 6.1")
    if version < LONG_TERM[0]:
        return row.warning(f"{release}: older than 5.10", "Firecracker does not support it.")
    if version > LONG_TERM[-1]:
        follows = "It may be a long-term kernel or not: see kernel.org."
        return row.unknown(f"{release}: newer than what is known here", follows)
    follows = "It gets no corrections of security holes for long."
    return row.warning(f"{release}: not a long-term kernel", follows)


def check_updates(
    release: str | None, told: str | None, installed: Sequence[str], today: datetime.date, *, restart: bool
) -> Finding:
    """Judge whether the kernel that runs is up to date.

    Args:
        release: What `uname -r` says.
        told: /proc/version, which holds the day of its making in one of two ways.
        installed: Releases that are installed, by their folders of modules.
        today: The day.
        restart: Whether the system itself asks for a restart.
    """
    row = Row("kernel_updates", "Kernel's updates")
    newer = [
        name for name in installed if release and _same_kind(name, release) and _order(name) > _order(release)
    ]
    if newer or restart:
        newest = f"{max(newer, key=_order)} is installed, {release} runs" if newer else None
        found = newest or "the system asks for a restart"
        return row.warning(found, "Corrections are there, and not in use.", "systemctl reboot")
    made = made_on(told or "")
    if made is None:
        follows = "See whether your distribution has a newer one."
        return row.unknown("it does not tell when it was made", follows)
    days = (today - made).days
    if days > OLD_DAYS:
        return row.warning(
            f"made on {made}, {days} days ago",
            "Holes were found since.",
            "apt-get update && apt-get dist-upgrade",
        )
    return row.ok(f"made on {made}")


def made_on(told: str) -> datetime.date | None:
    """Return the day in /proc/version; None when there is none that we understand."""
    try:
        if found := _ISO.search(told):
            return datetime.date(int(found[1]), int(found[2]), int(found[3]))
        if found := _ENGLISH.search(told):
            return datetime.date(int(found[3]), _MONTHS.index(found[1]) + 1, int(found[2]))
    except ValueError:
        pass
    return None


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))


def _same_kind(one: str, other: str) -> bool:
    return re.sub(r"[\d.-]+", "", one) == re.sub(r"[\d.-]+", "", other)


def check_kernel(files: HostFiles, today: datetime.date) -> list[Finding]:
    """Look at all of it."""
    release, installed = files.read("proc/sys/kernel/osrelease"), files.names("lib/modules") or []
    restart = files.exists("run/reboot-required")
    return [
        check_release(release),
        check_updates(release, files.read("proc/version"), installed, today, restart=restart),
    ]
