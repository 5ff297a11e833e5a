"""Guests whose kernels have measured their interrupt timer well, on however busy a host.

A kernel that could not measure it hangs. One that measured it wrong, since the host kept its
processor waiting just then, has all that sleeps wake too late by as much, and so has each clone of
it. Both are for `TimedMachine` alone: where the timer's frequency is known beforehand, the machine
is booted again until its kernel has found it. That is seldom needed where VMMs have control groups:
a machine that boots is then given the processor first (`TimedMachine.settle` ends that).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, TypeVar

from emberbox.errors import BootFailed, GuestRequestFailed
from emberbox.vmm.base import Machine, TimedMachine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.guest import GuestClient

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

BOOTS = 4
"""How often a machine is booted for the sake of its timer. Each time it goes well nine times of ten
on a busy host."""
TOLERANCE = 0.03
"""By how much of it the frequency that was found may be off."""
WORST = 0.25
"""By how much it may be at the last boot: late alarms are better than none."""
_LIST = "/proc/timer_list"
_LIST_BYTES = 4 * 2**20
_LAPIC = re.compile(
    rb"^Clock Event Device: lapic\n(?:.*\n)*?\s*mult:\s*(\d+)\n\s*shift:\s*(\d+)\n", re.MULTILINE
)


async def boot_in_time(boot: Callable[[float], Awaitable[_T]]) -> _T:
    """Boot a machine, as often as its timer needs it.

    Args:
        boot: Boots it, and leaves nothing behind when it fails. Told by how much the timer may be off; see
            `check_timer`.

    Raises:
        BootFailed: It failed for another reason, or at the last boot as well.
        EmberboxError: What `boot` raises otherwise.
    """
    left = BOOTS
    while True:
        left -= 1
        try:
            return await boot(TOLERANCE if left else WORST)
        except BootFailed as error:
            if not error.timer_lost:
                raise
            if not left:
                told = f"of {BOOTS} boots none was good: {error.message}"
                raise BootFailed(told, detail=error.detail) from error
            _log.warning("%s; it is booted again", error.message, extra={"action": "vmm.timer_lost"})


async def check_timer(machine: Machine, guest: GuestClient, tolerance: float) -> None:
    """Hold the frequency that a kernel has found against the real one, where that is known.

    Raises:
        BootFailed: It is off by more than `tolerance` of it; a further boot may do better (`timer_lost`).
        GuestError: The guest does not answer.
    """
    expected = machine.timer_hz if isinstance(machine, TimedMachine) else None
    found = None if expected is None else await _timer_hz(guest)
    if expected is None or found is None or (off := abs(found / expected - 1)) <= tolerance:
        return
    error = BootFailed(
        f"virtual machine {machine.spec.id} did not boot well: this host kept its processor waiting while its"
        f" kernel measured its timer, which is off by {off:.0%} now; try again when the host is less busy"
    )
    error.timer_lost = True
    raise error


async def _timer_hz(guest: GuestClient) -> float | None:
    try:
        text = await guest.read_bytes(_LIST, _LIST_BYTES, user="root")
    except GuestRequestFailed:
        return None
    return parse_timer_list(text)


def parse_timer_list(text: bytes) -> float | None:
    """Return the frequency of the first local APIC's timer by /proc/timer_list, in Hz.

    None where there is none.

    Source: the kernel's kernel/time/timer_list.c; include/linux/clockchips.h: a second is `mult *
    10^9 >> shift` counts.
    """
    found = _LAPIC.search(text)
    if found is None or len(found[1]) > 10 or len(found[2]) > 2:
        return None
    return int(found[1]) * 1e9 / float(1 << int(found[2]))
