"""What QEMU tells of an emulated APIC's timer: as Debian's 7.2 printed it."""

from __future__ import annotations

import pytest

from emberbox.vmm.base import TimerState
from emberbox.vmm.qemu.apic import timer_state

TOLD = """dumping local APIC state for CPU 0 \r
\r
LVT0\t 0x00010700 active-hi edge  masked                      ExtINT (vec 0)\r
LVTT\t {timer} active-hi edge  {masked}         periodic     Fixed  (vec 236)\r
Timer\t DCR=0x3 (divide by 16) initial_count = {count} current_count = 169832737\r
SPIV\t 0x000001ff APIC enabled, focus=off, spurious vec 255\r
"""


@pytest.mark.parametrize(
    ("masked", "count", "state"),
    [
        ("masked", 0, TimerState.UNSET),
        ("masked", 268435455, TimerState.MEASURING),
        ("      ", 268435455, TimerState.SET),
        ("      ", 62500, TimerState.SET),
    ],
)
def test_a_timer_is_being_measured_while_it_counts_masked_from_its_largest_number(
    masked: str, count: int, state: TimerState
) -> None:
    assert timer_state(TOLD.format(timer="0x000300ec", masked=masked, count=count)) is state


@pytest.mark.parametrize("text", ["", "No local APIC present"])
def test_what_is_no_answer_tells_nothing(text: str) -> None:
    assert timer_state(text) is None
