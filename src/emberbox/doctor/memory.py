"""Checks of what a guest's memory may leave behind or give away: swap, page merging, and what only the hardware tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Level

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
    return [Swap(path=path, kind=_kind(files, path)) for line in table.splitlines()[1:] if (path := line.split()[0])]


def _kind(files: HostFiles, path: str) -> SwapKind:
    device = path.removeprefix("/dev/")
    if device.startswith("zram"):
        backed = files.read(f"sys/block/{device}/backing_dev")
        return SwapKind.MEMORY if backed in (None, "none") else SwapKind.PLAIN
    encrypted = (files.read(f"sys/block/{device}/dm/uuid") or "").startswith("CRYPT-")
    return SwapKind.ENCRYPTED if path.startswith("/dev/dm-") and encrypted else SwapKind.PLAIN


def check_swap(found: Sequence[Swap] | None) -> Finding:
    """Judge the swap spaces; None when they cannot be seen."""
    key, title = "swap", "Swap"
    if found is None:
        return Finding(key=key, title=title, level=Level.UNKNOWN, found="cannot be seen: /proc/swaps cannot be read")
    told = ", ".join(f"{swap.path} ({swap.kind})" for swap in found) or "none"
    if all(swap.kind is not SwapKind.PLAIN for swap in found):
        return Finding(key=key, title=title, level=Level.OK, found=told)
    return Finding(
        key=key, title=title, level=Level.WARNING, found=told,
        follows="What was in a guest's memory stays on the disk after its end.",
        mend=r"swapoff -a && sed -i '/\sswap\s/s/^[^#]/#&/' /etc/fstab",
    )  # fmt: skip


def check_merging(running: str | None, *, told: bool) -> Finding:
    """Judge same-page merging (KSM).

    Args:
        running: What /sys/kernel/mm/ksm/run says; None when there is no such file.
        told: Whether the kernel tells about its memory at all.
    """
    key, title = "ksm", "Page merging (KSM)"
    if running is None:
        found = "this kernel has none" if told else "cannot be seen: there is no /sys/kernel/mm"
        return Finding(key=key, title=title, level=Level.OK if told else Level.UNKNOWN, found=found)
    if running in ("0", "2"):
        return Finding(key=key, title=title, level=Level.OK, found="off")
    return Finding(
        key=key, title=title, level=Level.WARNING, found="on", follows="A guest can find out what is in the memory of another.",
        mend="echo 2 > /sys/kernel/mm/ksm/run",
    )  # fmt: skip


def check_modules(controllers: Sequence[str] | None) -> Finding:
    """Say what has to be known about the memory modules; `controllers` are those that the kernel watches for errors."""
    watched = f"errors are watched by {', '.join(controllers)}" if controllers else "the kernel watches no error correction"
    return Finding(
        key="rowhammer", title="Memory modules", level=Level.BY_HAND, found=watched,
        follows="Against Rowhammer, use modules with error correction (ECC) and target row refresh (TRR): see their data sheet.",
    )  # fmt: skip


def check_memory(files: HostFiles) -> list[Finding]:
    """Look at all of it."""
    controllers = [name for name in files.names("sys/devices/system/edac/mc") or () if name.startswith("mc")]
    return [
        check_swap(swaps(files)),
        check_merging(files.read("sys/kernel/mm/ksm/run"), told=files.exists("sys/kernel/mm")),
        check_modules(controllers),
        Finding(
            key="disk_encryption", title="Disk encryption", level=Level.BY_HAND, found="not looked at",
            follows="Images, snapshots and logs lie in the data folder: encrypt its disk if it may be carried away.",
        ),
    ]  # fmt: skip
