"""When a boot is given up, and as what it is told: on machines that are processes of this host."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import BootFailed, GuestGone, GuestVersionMismatch
from emberbox.vmm.base import MachineSpec, MachineState, TimerState
from emberbox.vmm.boots import watch
from emberbox.vmm.boots.watch import BootBounds, until_it_speaks
from emberbox.vmm.process.vital_signs import read_threads

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = BootBounds(cpu_s=3600, idle_s=3600, wall_s=3600)
SPIN, SLEEP, END = "while True: pass", "import time; time.sleep(3600)", "pass"


@pytest.fixture(autouse=True)
def quick_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SAMPLE_S", 0.05)


class ProcessMachine:
    """Has what the watch uses of a machine; behind it is a Python process."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.spec = MachineSpec(
            id="watched",
            run_dir=folder,
            vcpus=1,
            memory_mib=64,
            kernel=folder / "kernel",
            initramfs=folder / "initramfs",
        )
        self.process = process
        self.status = MachineState.RUNNING
        self.told: str | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def poll(self) -> MachineState:
        return self.status if self.process.returncode is None else MachineState.EXITED

    async def wait(self) -> int:
        return await self.process.wait()

    def console(self) -> str:
        return self.spec.console_log.read_text() if self.spec.console_log.exists() else ""

    def vmm_log(self) -> str:
        return ""

    async def trouble(self) -> str | None:
        return self.told if self.process.returncode is None else f"ended with {self.process.returncode}"


class TimedProcessMachine(ProcessMachine):
    """One whose kernel measures its timer: `states` has each look, the last from then on."""

    timer_hz = 62.5e6

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        super().__init__(folder, process)
        self.states: list[TimerState | None] = [TimerState.MEASURING]
        self.looks = 0
        self.settled = asyncio.Event()

    def settle(self) -> None:
        self.settled.set()

    async def timer(self) -> TimerState | None:
        self.looks += 1
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


async def watched(
    folder: Path,
    program: str,
    speaking: Any,
    bounds: BootBounds,
    prepare: Any = None,
    kind: Any = ProcessMachine,
) -> Any:
    """Watch a machine whose VMM is a Python program."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    machine = kind(folder, process)
    try:
        if prepare is not None:
            prepare(machine)
        return await until_it_speaks(machine, speaking(), bounds)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def silence() -> str:
    await asyncio.sleep(3600)
    raise AssertionError


async def test_a_guest_that_speaks_is_heard(tmp_path: Path) -> None:
    async def speaking() -> str:
        await asyncio.sleep(0.01)
        return "hello"

    assert await watched(tmp_path, SLEEP, speaking, FOREVER) == "hello"


async def test_one_that_computes_and_computes_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(BootFailed, match="has computed for") as caught:
        await watched(tmp_path, SPIN, silence, BootBounds(cpu_s=0.5, idle_s=3600, wall_s=3600))
    assert caught.value.detail == "the guest's console is empty\nthe VMM's log is empty"
    assert caught.value.retryable


async def test_one_that_sleeps_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(BootFailed, match="has done nothing for"):
        await watched(tmp_path, SLEEP, silence, BootBounds(cpu_s=3600, idle_s=0.5, wall_s=3600))


@pytest.mark.parametrize("program", [SPIN, SLEEP])
async def test_one_whose_timer_was_lost_is_given_up_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(watch, "TIMER_S", 0.2)
    with pytest.raises(BootFailed, match="waits for interrupts that do not come") as caught:
        await watched(tmp_path, program, silence, FOREVER, kind=TimedProcessMachine)
    assert caught.value.timer_lost


async def test_one_that_measures_its_timer_now_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "TIMER_S", 0.0)

    def prepare(machine: TimedProcessMachine) -> None:
        machine.states = [TimerState.MEASURING, TimerState.UNSET] * 1000

    async def speaking() -> str:
        await asyncio.sleep(1.5)
        return "hello"

    assert await watched(tmp_path, SPIN, speaking, FOREVER, prepare, TimedProcessMachine) == "hello"


@pytest.mark.parametrize("unset", [TimerState.UNSET, TimerState.MEASURING, None])
async def test_one_has_the_processor_first_until_its_timer_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unset: TimerState | None
) -> None:
    monkeypatch.setattr(watch, "SAMPLE_S", 0.01)
    machines: list[TimedProcessMachine] = []

    def prepare(machine: TimedProcessMachine) -> None:
        machines.append(machine)
        machine.states = [unset] * 5 + [TimerState.SET]

    async def speaking() -> str:
        await machines[0].settled.wait()
        assert machines[0].looks == 6
        await asyncio.sleep(0.1)
        return "hello"

    assert await watched(tmp_path, SLEEP, speaking, FOREVER, prepare, TimedProcessMachine) == "hello"
    assert machines[0].looks == 6, "a timer that is set is looked at no more"


async def test_one_whose_timer_is_not_seen_to_be_set_has_the_processor_first_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SAMPLE_S", 0.01)
    monkeypatch.setattr(watch, "MEASURED_S", 0.2)
    machines: list[TimedProcessMachine] = []

    def prepare(machine: TimedProcessMachine) -> None:
        machines.append(machine)
        machine.states = [None]

    async def speaking() -> str:
        await machines[0].settled.wait()
        assert max(one.ran_s for one in read_threads(machines[0].pid).values()) >= watch.MEASURED_S
        return "hello"

    assert await watched(tmp_path, SPIN, speaking, FOREVER, prepare, TimedProcessMachine) == "hello"


async def test_one_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("[0.1] Kernel panic - not syncing: no more tea\n")
    with pytest.raises(BootFailed, match="watched did not boot: its kernel panicked: no more tea") as caught:
        await watched(tmp_path, END, silence, FOREVER)
    assert "no more tea" in (caught.value.detail or "")


async def test_one_that_its_vmm_stopped_is_given_up_but_not_one_that_is_paused(tmp_path: Path) -> None:
    def stopped(machine: ProcessMachine) -> None:
        machine.status, machine.told = MachineState.PAUSED, "its VMM met an error"

    with pytest.raises(BootFailed, match="its VMM met an error"):
        await watched(tmp_path, SLEEP, silence, FOREVER, stopped)

    def paused(machine: ProcessMachine) -> None:
        machine.status = MachineState.PAUSED

    with pytest.raises(BootFailed, match=r"has not spoken for 1 s \(vmm.boot_timeout_s\)"):
        await watched(tmp_path, SLEEP, silence, BootBounds(cpu_s=3600, idle_s=3600, wall_s=1), paused)


async def test_one_that_gets_no_processor_is_not_given_up(tmp_path: Path) -> None:
    def stop(machine: ProcessMachine) -> None:
        os.kill(machine.pid, signal.SIGSTOP)

    async def speaking() -> str:
        await asyncio.sleep(1.5)
        return "hello"

    assert (
        await watched(tmp_path, SLEEP, speaking, BootBounds(cpu_s=3600, idle_s=0.5, wall_s=3600), stop)
        == "hello"
    )


async def test_each_line_on_the_console_is_a_sign_of_life(tmp_path: Path) -> None:
    async def speaking() -> str:
        for _ in range(12):
            await asyncio.sleep(0.1)
            with (tmp_path / "console.log").open("a") as console:
                console.write("a line\n")
        return "hello"

    assert (
        await watched(tmp_path, SLEEP, speaking, BootBounds(cpu_s=3600, idle_s=0.5, wall_s=3600)) == "hello"
    )


async def test_a_stream_that_breaks_is_explained_and_other_errors_are_not_hidden(tmp_path: Path) -> None:
    async def gone() -> str:
        raise GuestGone("the connection to the guest ended")

    async def mismatch() -> str:
        raise GuestVersionMismatch("another version")

    with pytest.raises(BootFailed, match="ended with 0"):
        await watched(tmp_path, END, gone, FOREVER)
    with pytest.raises(GuestVersionMismatch):
        await watched(tmp_path, SLEEP, mismatch, FOREVER)


async def test_giving_up_leaves_no_task(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEP)
    machine = ProcessMachine(tmp_path, process)
    task = asyncio.create_task(until_it_speaks(machine, silence(), FOREVER))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [other for other in asyncio.all_tasks() if other.get_name().startswith("boot-")]
    process.kill()
    await process.wait()
