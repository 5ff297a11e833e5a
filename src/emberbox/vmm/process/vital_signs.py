"""Tells from a VMM's threads whether its guest computes, waits for the host, or does nothing.

Sources: proc(5) for /proc/PID/task/TID/stat; the kernel's Documentation/scheduler/sched-stats.rst
for schedstat, whose first two numbers are the time that a thread ran and the time that it waited
for a processor, in ns.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SLEEPING = frozenset("SI")
"""States of a thread that wants nothing of the host. One that is runnable waits for a processor,
one in `D` for a disk."""
ACTIVE_SHARE = 0.05
"""A guest whose VMM uses more of a processor than this does something. An idle Linux guest under
emulation uses 0.005."""
WANTING_SHARE = 0.25
"""One whose VMM has a thread that wants a processor, got or not, for more of the time does as well.
On a host with ten runnable threads for each processor, an idle guest's wants one for a tenth of the
time, and gets it then; a booting one's all the time, and gets less than `ACTIVE_SHARE` of it."""


@dataclass(frozen=True, slots=True)
class ThreadReading:
    """One thread of a process at one moment.

    Args:
        ran_s: For how long it has run.
        waited_s: For how long it was runnable and waited for a processor.
        state: Its state's letter.
    """

    ran_s: float
    waited_s: float
    state: str


def read_threads(pid: int) -> dict[int, ThreadReading]:
    """Return the threads of the process `pid` and of its descendants, which may do a VMM's work.

    Empty when it is gone, or when this kernel keeps no such account.
    """
    found: dict[int, ThreadReading] = {}
    waiting = [pid]
    while waiting:
        with contextlib.suppress(OSError):
            for folder in Path(f"/proc/{waiting.pop()}/task").iterdir():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found[int(folder.name)] = _read(folder)
                    waiting += [int(child) for child in (folder / "children").read_text("ascii").split()]
    return found


def _read(folder: Path) -> ThreadReading:
    ran, waited = (folder / "schedstat").read_text("ascii").split()[:2]
    stat = (folder / "stat").read_bytes()
    return ThreadReading(int(ran) / 1e9, int(waited) / 1e9, chr(stat[stat.rindex(b")") + 2]))


class VitalSigns:
    """Follows one VMM: how much its busiest thread computed, and for how long the whole was idle.

    Both are counted from the last sign of progress. Wall-clock time is no measure: on a busy host,
    a boot of two seconds takes a minute, in which the VMM is runnable and waits.

    Attributes:
        busy_s: Seconds for which the busiest thread (a vCPU's, in a guest that spins) has run.
        idle_s: Seconds for which the process was seen to want nothing, one after another.
    """

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.idle_s = 0.0
        self._base: dict[int, float] = {}
        self._last: Mapping[int, ThreadReading] = {}

    def progress(self) -> None:
        """Note that the guest has shown itself: what was counted begins anew."""
        self._base = {thread: reading.ran_s for thread, reading in self._last.items()}
        self.busy_s = self.idle_s = 0.0

    def take(self, threads: Mapping[int, ThreadReading], passed_s: float) -> None:
        """Take a reading, `passed_s` seconds of the clock after the last one; an empty one tells nothing."""
        if not threads:
            return
        last, self._last = self._last, threads
        for thread, reading in threads.items():
            self._base.setdefault(thread, 0.0 if last else reading.ran_s)
        self.busy_s = max(reading.ran_s - self._base[thread] for thread, reading in threads.items())
        if not last or passed_s <= 0:
            return
        gone = {thread: last.get(thread, _UNBORN) for thread in threads}
        ran_s = sum(reading.ran_s - gone[thread].ran_s for thread, reading in threads.items())
        wanted_s = max(_wanted_s(reading) - _wanted_s(gone[thread]) for thread, reading in threads.items())
        if ran_s > ACTIVE_SHARE * passed_s or wanted_s > WANTING_SHARE * passed_s:
            # Of a boot on a busy host, the quiet moments must not add up.
            self.idle_s = 0.0
        elif all(reading.state in SLEEPING for reading in threads.values()):
            self.idle_s += passed_s


_UNBORN = ThreadReading(0.0, 0.0, "S")


def _wanted_s(reading: ThreadReading) -> float:
    return reading.ran_s + reading.waited_s
