"""Checks of what a guest's memory may leave behind or give away.

That is swap, page merging, and what only the hardware tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Level, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.doctor.hostfiles import HostFiles


class SwapKind(StrEnum):
    """Where memory that is swapped out goes."""

    MEMORY = "compressed memory"
    ENCRYPTED = "encrypted"
    PLAIN = "readable on the disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One swap space: its path, and where what is in it goes."""

    path: str
    kind: SwapKind


def swaps(files: HostFiles) -> list[Swap] | None:
    """Return the host's swap spaces; None when /proc/swaps cannot be read."""
    table = files.read("proc/swaps")
    if table is None:
        return None
    return [
        Swap(path=path, kind=_kind(files, path))
        for line in table.splitlines()[1:]
        if (path := line.split()[0])
    ]


def _kind(files: HostFiles, path: str) -> SwapKind:
    device = path.removeprefix("/dev/")
    if device.startswith("zram"):
        backed = files.read(f"sys/block/{device}/backing_dev")
        return SwapKind.MEMORY if backed in (None, "none") else SwapKind.PLAIN
    encrypted = (files.read(f"sys/block/{device}/dm/uuid") or "").startswith("CRYPT-")
    return SwapKind.ENCRYPTED if path.startswith("/dev/dm-") and encrypted else SwapKind.PLAIN


def check_swap(found: Sequence[Swap] | None) -> Finding:
    """Judge the swap spaces; None when they cannot be seen."""
    row = Row("swap", "Swap")
    if found is None:
        return row.unknown("cannot be seen: /proc/swaps cannot be read")
    told = ", ".join(f"{swap.path} ({swap.kind})" for swap in found) or "none"
    if all(swap.kind is not SwapKind.PLAIN for swap in found):
        return row.ok(told)
    return row.warning(
        told,
        "What was in a guest's memory stays on the disk after its end.",
        r"swapoff -a && sed -i '/\sswap\s/s/^[^#]/#&/' /etc/fstab",
    )


def check_merging(running: str | None, *, told: bool) -> Finding:
    """Judge same-page merging (KSM).

    Args:
        running: What /sys/kernel/mm/ksm/run says; None when there is no such file.
        told: Whether the kernel tells about its memory at all.
    """
    row = Row("ksm", "Page merging (KSM)")
    if running is None:
        found = "this kernel has none" if told else "cannot be seen: there is no /sys/kernel/mm"
        return row.of(Level.OK if told else Level.UNKNOWN, found)
    if running in ("0", "2"):
        return row.ok("off")
    return row.warning(
        "on", "A guest can find out what is in the memory of another.", "echo 2 > /sys/kernel/mm/ksm/run"
    )


def check_modules(controllers: Sequence[str] | None) -> Finding:
    """Say what has to be known about the memory modules.

    Args:
        controllers: Those that the kernel watches for errors.
    """
    watched = "the kernel watches no error correction"
    if controllers:
        watched = f"errors are watched by {', '.join(controllers)}"
    return Row("rowhammer", "Memory modules").by_hand(
        watched,
        "Against Rowhammer, use modules with error correction (ECC) and target row refresh (TRR):"
        " see their data sheet.",
    )


def check_memory(files: HostFiles) -> list[Finding]:
    """Look at all of it."""
    controllers = [name for name in files.names("sys/devices/system/edac/mc") or () if name.startswith("mc")]
    return [
        check_swap(swaps(files)),
        check_merging(files.read("sys/kernel/mm/ksm/run"), told=files.exists("sys/kernel/mm")),
        check_modules(controllers),
        Row("disk_encryption", "Disk encryption").by_hand(
            "not looked at",
            "Images, snapshots and logs lie in the data folder: encrypt its disk if it may be carried away.",
        ),
    ]
