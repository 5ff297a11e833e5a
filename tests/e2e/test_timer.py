"""Kernels that measure their timer while the host makes them wait, on real machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import VmmError
from emberbox.sandbox.machines.timer import TOLERANCE, parse_timer_list
from emberbox.vmm.base import TimerState
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.qemu.apic import APIC_TIMER_HZ
from emberbox.vmm.qemu.driver import QemuDriver

if TYPE_CHECKING:
    from emberbox import Engine
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.qemu.machine import QemuMachine

pytestmark = [
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="other kernels are told their timer's frequency"
    ),
    pytest.mark.timeout(600),
]
RUN_S, WAIT_S = 0.003, 0.115
"""The measurement's beginning takes 0.004 s of processor time; it fails when 0.1 s pass there."""
TRIES = 4
USUAL = {"cpu.weight": "100", "cpu.shares": "1024"}
"""What a group's share of the processors begins with, in the two versions of control groups."""


def made_groups() -> Cgroups:
    """Return the groups that VMMs have here."""
    groups = Cgroups()
    if not groups.prepare():
        pytest.skip(groups.reason)
    return groups


async def keep_waiting(machine: QemuMachine) -> None:
    """Let a machine run for a little at a time until its kernel has measured.

    This begins once the kernel has turned its interrupts on.
    """
    with contextlib.suppress(ProcessLookupError, VmmError):
        told = {"command-line": "info lapic 0"}
        while "APIC enabled" not in str(await machine._command("human-monitor-command", told)):  # noqa: ASYNC110  QEMU does not tell
            await asyncio.sleep(0.002)
        measuring = asyncio.create_task(until_measured(machine))
        while not measuring.done():
            os.kill(machine.pid, signal.SIGSTOP)
            await asyncio.sleep(WAIT_S)
            os.kill(machine.pid, signal.SIGCONT)
            await asyncio.sleep(RUN_S)
        await measuring


async def until_measured(machine: QemuMachine) -> None:
    """Return once a machine's kernel measures its timer, or has, and was kept waiting once more."""
    while await machine.timer() is TimerState.UNSET:  # noqa: ASYNC110  QEMU does not tell
        await asyncio.sleep(0.01)
    await asyncio.sleep(2 * WAIT_S)


async def test_a_machine_whose_kernel_could_not_measure_is_booted_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = QemuDriver.start
    machines: list[QemuMachine] = []
    waiting: list[asyncio.Task[None]] = []

    async def started(driver: QemuDriver, spec: MachineSpec) -> QemuMachine:
        machine = await start(driver, spec)
        machines.append(machine)
        if len(machines) == 1:
            waiting.append(asyncio.create_task(keep_waiting(machine)))
        return machine

    monkeypatch.setattr(QemuDriver, "start", started)
    for _ in range(TRIES):
        machines.clear()
        async with engine.sandbox("python", cold=True) as sandbox:
            assert (await sandbox.run("import time; time.sleep(0.1); print('hello')")).stdout == "hello\n"
        await waiting.pop()
        if len(machines) > 1:
            return
    pytest.fail(
        f"{TRIES} machines that were kept waiting while they booted have all measured their timers well"
    )


async def test_a_machine_that_has_booted_has_its_timer_right_and_no_more_of_the_processor_than_others(
    engine: Engine,
) -> None:
    async with engine.sandbox("python", cold=True) as sandbox:
        found = parse_timer_list(await sandbox._live.guest.read_bytes("/proc/timer_list", 2**20, user="root"))
        assert found == pytest.approx(APIC_TIMER_HZ, rel=8 * TOLERANCE)
        files = [folder / name for folder in made_groups().find(sandbox.id).folders for name in USUAL]
        assert [file.read_text().strip() == USUAL[file.name] for file in files if file.exists()] == [True]
