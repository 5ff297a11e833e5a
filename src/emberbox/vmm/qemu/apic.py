"""The timer of an emulated local APIC, which an x86 kernel measures as it boots.

Linux lets it count down from its largest number, masked, while 0.1 s pass by the time stamp counter
(the kernel's arch/x86/kernel/apic/apic.c, `calibrate_APIC_clock`). The counter goes on while the
host gives the processor to others: if that is for 0.1 s just then, nothing seems to have been
counted, the kernel finds the timer too slow, leaves it masked and waits for ever for its first
interrupt. QEMU's counts 10^9 a second (hw/intc/apic_common.c), and Linux divides that by 16.
"""

from __future__ import annotations

import re

from emberbox.vmm.base import TimerState

APIC_TIMER_HZ = 1e9 / 16

_LARGEST = 0xFFFF_FFFF // 16
_TIMER = re.compile(r"^LVTT\b(.*)$", re.MULTILINE)
_COUNT = re.compile(r"\binitial_count = (\d+)")


def timer_state(text: str) -> TimerState | None:
    """Tell how far the timer is, by QEMU's `info lapic` of its processor; None for what is no such text."""
    timer, count = _TIMER.search(text), _COUNT.search(text)
    if timer is None or count is None:
        return None
    if "masked" not in timer[1].split():
        return TimerState.SET
    return TimerState.MEASURING if int(count[1]) == _LARGEST else TimerState.UNSET
