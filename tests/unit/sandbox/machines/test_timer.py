"""A machine whose kernel measured its timer badly is booted again, for a while."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from emberbox.errors import BootFailed, EmberboxError, GuestGone, GuestRequestFailed
from emberbox.sandbox.machines.timer import BOOTS, boot_in_time, check_timer, parse_timer_list

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


HZ = 62_500_000
LIST = """Timer List Version: v0.9
HRTIMER_MAX_CLOCK_BASES: 8
now at 1250000000 nsecs

Tick Device: mode:     1
Broadcast device
Clock Event Device: <NULL>
tick_broadcast_mask: 0
tick_broadcast_oneshot_mask: 0

Tick Device: mode:     1
Per CPU device: 0
Clock Event Device: {name}
 max_delta_ns:   34359740737
 min_delta_ns:   1000
 mult:           {mult}
 shift:          {shift}
 mode:           3
 next_event:     1252000000 nsecs
 set_next_event: lapic_next_event
"""


def timer_list(hz: float, name: str = "lapic") -> bytes:
    return LIST.format(name=name, mult=round(hz * 2**32 / 1e9), shift=32).encode()


class Machine:
    """A machine whose kernel found `found` Hz, or nothing; its host knows of `expected` Hz."""

    spec = SimpleNamespace(id="timed")

    def __init__(self, found: float | EmberboxError, expected: float | None = HZ) -> None:
        self.ended = False
        self.timer_hz = expected
        self._found = found

    def settle(self) -> None:
        """Be a `TimedMachine`."""

    async def timer(self) -> None:
        """Be a `TimedMachine`."""

    async def read_bytes(self, path: str, max_bytes: int, *, user: str) -> bytes:
        assert (path, user) == ("/proc/timer_list", "root")
        if isinstance(self._found, EmberboxError):
            raise self._found
        return timer_list(self._found)


UNTOLD = GuestRequestFailed("not_found", "there is no such file")


def lost(timer: bool = True) -> BootFailed:
    error = BootFailed("it did not boot")
    error.timer_lost = timer
    return error


def booting(*outcomes: Machine | BootFailed) -> Callable[[float], Awaitable[Machine]]:
    """Return what boots one after the other, and ends it when its timer is not good enough."""
    left = list(outcomes)

    async def boot(tolerance: float) -> Machine:
        outcome = left.pop(0)
        if isinstance(outcome, BootFailed):
            raise outcome
        try:
            await check_timer(cast("Any", outcome), cast("Any", outcome), tolerance)
        except BaseException:
            outcome.ended = True
            raise
        return outcome

    return boot


@pytest.mark.parametrize("hz", [HZ, HZ * 0.98, HZ * 1.02])
def test_a_frequency_is_read(hz: float) -> None:
    assert parse_timer_list(timer_list(hz)) == pytest.approx(hz, rel=1e-6)


@pytest.mark.parametrize(
    "text", [b"", timer_list(HZ, "lapic-deadline"), timer_list(HZ, "arch_sys_timer"), b"\xff" * 4096]
)
def test_no_frequency_is_made_up(text: bytes) -> None:
    assert parse_timer_list(text) is None


@pytest.mark.parametrize(
    "machine", [Machine(HZ), Machine(HZ * 1.029), Machine(HZ * 2, expected=None), Machine(UNTOLD)]
)
async def test_a_good_one_is_kept(machine: Machine) -> None:
    kept = await boot_in_time(booting(machine))
    assert kept is machine
    assert not machine.ended


async def test_bad_ones_are_ended_and_booted_again() -> None:
    late, early, good = Machine(HZ * 1.04), Machine(HZ * 0.9), Machine(HZ)
    kept = await boot_in_time(booting(late, lost(), early, good))
    assert kept is good
    assert (late.ended, early.ended, good.ended) == (True, True, False)


async def test_the_last_one_may_be_a_little_worse() -> None:
    machines = [Machine(HZ * 1.1) for _ in range(BOOTS)]
    kept = await boot_in_time(booting(*machines))
    assert kept is machines[-1]
    assert [machine.ended for machine in machines] == [*[True] * (BOOTS - 1), False]


async def test_none_at_all_is_told() -> None:
    machines = [Machine(HZ * 2) for _ in range(BOOTS)]
    with pytest.raises(BootFailed, match="of 4 boots none was good"):
        await boot_in_time(booting(*machines))
    assert all(machine.ended for machine in machines)
    with pytest.raises(BootFailed, match="it did not boot"):
        await boot_in_time(booting(*[lost()] * BOOTS))


async def test_another_failure_is_final() -> None:
    with pytest.raises(BootFailed, match="it did not boot"):
        await boot_in_time(booting(lost(timer=False), Machine(HZ)))


async def test_a_guest_that_goes_meanwhile_is_a_failure_of_its_boot() -> None:
    gone, other = Machine(GuestGone("the connection to the guest ended")), Machine(HZ)
    with pytest.raises(GuestGone):
        await boot_in_time(booting(gone, other))
    assert (gone.ended, other.ended) == (True, False)
