"""Watching a boot from outside, so that one that hangs ends in seconds, and one that is merely slow does not.

A boot says nothing until its agent speaks, and takes a second or a minute, by what else the host
does. So it is judged by what its VMM does with the processor time that it gets: it ends when it
computes for long without a word, when it does nothing while it could, when its VMM has ended or has
stopped it. Each line on its console lets it begin anew; `BootBounds.wall_s` bounds all.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from emberbox.errors import BootFailed, GuestGone, GuestTimeout, VmmDied, VmmError, VmmTimeout
from emberbox.vmm.base import MachineState, TimedMachine, TimerState
from emberbox.vmm.boots.diagnosis import Evidence, Symptom, cause
from emberbox.vmm.process.vital_signs import VitalSigns, read_threads

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from emberbox.vmm.base import Machine

_T = TypeVar("_T")

SAMPLE_S = 0.5
TIMER_S = 2.0
"""How long a guest has computed, or done nothing, without a word when its timer is looked at."""
MEASURED_S = 5.0
"""After how much processor time a kernel counts as having measured its timer, where it is not seen:
0.3 to 1.3 s were."""
MEASURING_S = 0.5
"""A kernel that measures its timer computes for 0.1 s: one that has for so long, or idles, does not
measure it any more."""
_ENDING_S = 2.0
_SILENCE = (GuestGone, GuestTimeout, VmmDied, VmmTimeout)
"""Errors that say no more than that nothing came: why is for the watch to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootBounds:
    """When a boot counts as hung.

    Args:
        cpu_s: Seconds that one thread of the VMM may compute without a sign of the guest's.
        idle_s: Seconds for which the VMM may want nothing of the host, without a sign of the guest's.
        wall_s: Seconds of the clock for the whole boot.
    """

    cpu_s: float = 20.0
    idle_s: float = 8.0
    wall_s: float = 300.0


async def until_it_speaks(machine: Machine, speaking: Coroutine[Any, Any, _T], bounds: BootBounds) -> _T:
    """Carry out `speaking`, which connects to a booting agent and hears its hello, while there is hope.

    Safe to cancel. The machine is the caller's, before and after.

    Raises:
        BootFailed: It hangs, or has ended; the message tells why, and the detail holds the ends of
            console and log.
        EmberboxError: What `speaking` raises otherwise, such as for an agent of another version.
    """
    talk = asyncio.create_task(speaking, name=f"boot-{machine.spec.id}")
    watch = asyncio.create_task(_watch(machine, bounds), name=f"boot-watch-{machine.spec.id}")
    try:
        await asyncio.wait({talk, watch}, return_when=asyncio.FIRST_COMPLETED)
        if talk.done() and not isinstance(talk.exception(), _SILENCE):
            return talk.result()
        symptom, seconds = watch.result() if watch.done() else await _ended(machine)
    finally:
        for task in (talk, watch):
            task.cancel()
        await asyncio.wait({talk, watch})
    error = await boot_failure(machine, symptom, seconds)
    raise error from (talk.exception() if talk.done() and not talk.cancelled() else None)


async def boot_failure(machine: Machine, symptom: Symptom, seconds: float = 0.0) -> BootFailed:
    """Return the error for a boot that came to nothing, with all that can be found out about it."""
    trouble = await machine.trouble()
    evidence = Evidence(
        symptom=symptom,
        seconds=seconds,
        console=machine.console(),
        vmm_log=machine.vmm_log(),
        trouble=trouble,
    )
    error = BootFailed(
        f"virtual machine {machine.spec.id} did not boot: {cause(evidence)}", detail=evidence.detail
    )
    error.timer_lost = symptom is Symptom.TIMERLESS
    return error


async def _ended(machine: Machine) -> tuple[Symptom, float]:
    """Say how it stands with a machine whose agent's stream broke: most often its VMM is just ending."""
    try:
        async with asyncio.timeout(_ENDING_S):
            await machine.wait()
    except (TimeoutError, VmmError):
        pass
    return Symptom.ENDED, 0.0


async def _watch(machine: Machine, bounds: BootBounds) -> tuple[Symptom, float]:
    """Return once the boot is hopeless, with what was seen."""
    signs, written, timer = VitalSigns(), 0, _TimerWatch(machine)
    begun = last = time.monotonic()
    while True:
        await asyncio.sleep(SAMPLE_S)
        now = time.monotonic()
        state = machine.poll()
        if state in (MachineState.EXITED, MachineState.KILLED):
            return Symptom.ENDED, 0.0
        if state is MachineState.PAUSED and await machine.trouble() is not None:
            return Symptom.STOPPED, 0.0
        # A sample that came late was itself kept from the processor: the VMM may have been as well.
        signs.take(read_threads(machine.pid), min(now - last, 2 * SAMPLE_S))
        last = now
        size = _console_size(machine)
        if size != written:
            written = size
            signs.progress()
        if await timer.is_lost(signs):
            return Symptom.TIMERLESS, now - begun
        if signs.busy_s >= bounds.cpu_s:
            return Symptom.BUSY, signs.busy_s
        if signs.idle_s >= bounds.idle_s:
            return Symptom.IDLE, signs.idle_s
        if now - begun >= bounds.wall_s:
            return Symptom.LATE, now - begun


class _TimerWatch:
    """Tells a timer whose measurement failed from one still being measured, by the guest's doings.

    A machine whose timer is set settles, and is not looked at again.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = (
            machine if isinstance(machine, TimedMachine) and machine.timer_hz is not None else None
        )
        self._since: tuple[float, float] | None = None

    async def is_lost(self, signs: VitalSigns) -> bool:
        machine = self._machine
        if machine is None:
            return False
        state = await machine.timer()
        if state is TimerState.SET:
            self._machine = None
        if state is TimerState.SET or signs.busy_s >= MEASURED_S:
            machine.settle()
        seen = signs.busy_s, signs.idle_s
        if state is not TimerState.MEASURING or max(seen) < TIMER_S:
            self._since = None
            return False
        if self._since is None:
            self._since = seen
        return any(now - before >= MEASURING_S for now, before in zip(seen, self._since, strict=True))


def _console_size(machine: Machine) -> int:
    try:
        return machine.spec.console_log.stat().st_size
    except OSError:
        return 0
