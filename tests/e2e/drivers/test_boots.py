"""Boots that come to nothing end by themselves, and say why; one that is only slow goes on.

The kernels are of the tests' own making.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import BootFailed
from emberbox.guest import GuestClient
from emberbox.vmm.boots.watch import BootBounds, until_it_speaks
from emberbox.vmm.registry import make_driver
from tests.e2e import hopeless_guests
from tests.e2e.drivers.test_qemu import qemu_only
from tests.e2e.vmm_guests import machine_spec

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Image
    from emberbox.vmm.base import Driver, Machine, MachineSpec
    from tests.e2e.drivers.kinds import Kind

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the guests are x86-64 code"),
    pytest.mark.timeout(600),  # cold boots, on whatever host
]
FOREVER_S = 3600.0


async def greet(machine: Machine, bounds: BootBounds) -> str:
    """Hear the hello of a machine that boots; returns the agent's version."""

    async def speaking() -> str:
        client = GuestClient(*await machine.open_channel())
        try:
            return (await client.hello(timeout_s=FOREVER_S)).agent
        finally:
            await client.close()

    return await until_it_speaks(machine, speaking(), bounds)


async def failure(driver: Driver, spec: MachineSpec, **bounds: float) -> BootFailed:
    """Boot a machine that comes to nothing; returns how that was told.

    Bounds that are not named are out of reach.
    """
    machine = await driver.start(spec)
    try:
        with pytest.raises(BootFailed) as caught:
            await greet(
                machine,
                BootBounds(**{"cpu_s": FOREVER_S, "idle_s": FOREVER_S, "wall_s": FOREVER_S, **bounds}),
            )
    finally:
        await machine.kill()
    assert str(spec.run_dir) not in caught.value.message
    assert spec.id in caught.value.message
    return caught.value


async def test_a_kernel_that_spins_without_a_word(driver: Driver, image: Image, tmp_path: Path) -> None:
    spec = replace(
        machine_spec(image, tmp_path), kernel=hopeless_guests.kernel(tmp_path, hopeless_guests.SPIN)
    )
    error = await failure(driver, spec, cpu_s=1.0)
    assert "has computed for" in error.message
    assert "without printing a word" in error.message
    assert str(error.detail).startswith("the guest's console is empty\n")


async def test_the_vmm_logs_as_much_as_it_is_told_to(
    kind: Kind, data: Path, image: Image, tmp_path: Path
) -> None:
    logs = {}
    for level in ("warning", "trace"):
        settings = replace(kind.settings(), log_level=level)
        spec = replace(
            machine_spec(image, tmp_path), kernel=hopeless_guests.kernel(tmp_path, hopeless_guests.SPIN)
        )
        machine = await make_driver(settings.driver, settings, data).start(spec)
        try:
            logs[level] = machine.vmm_log()
        finally:
            await machine.kill()
    assert len(logs["trace"]) > len(logs["warning"])


@qemu_only
async def test_a_kernel_that_halts(driver: Driver, image: Image, tmp_path: Path) -> None:
    spec = replace(
        machine_spec(image, tmp_path), kernel=hopeless_guests.kernel(tmp_path, hopeless_guests.HALT)
    )
    error = await failure(driver, spec, idle_s=2.0)
    assert "has done nothing for" in error.message
    assert "halted" in error.message


async def test_a_kernel_that_finds_no_root_file_system(driver: Driver, image: Image, tmp_path: Path) -> None:
    spec = replace(machine_spec(image, tmp_path), initramfs=hopeless_guests.initramfs(tmp_path, None))
    error = await failure(driver, spec)
    assert (
        "its kernel found no root file system (VFS: Unable to mount root fs on unknown-block(0,0))"
        in error.message
    )
    assert "Kernel panic - not syncing" in (error.detail or "")


@qemu_only
async def test_a_vmm_that_is_killed_is_told_as_that(driver: Driver, image: Image, tmp_path: Path) -> None:
    machine = await driver.start(machine_spec(image, tmp_path))
    try:
        os.kill(machine.pid, signal.SIGKILL)
        with pytest.raises(BootFailed, match=r"its VMM was killed \(SIGKILL\)"):
            await greet(machine, BootBounds())
    finally:
        await machine.kill()


@qemu_only
async def test_a_boot_that_gets_no_processor_time_for_a_while_goes_on(
    driver: Driver, image: Image, tmp_path: Path
) -> None:
    """For longer than a VMM may be idle, as on a host that is too busy to run it."""
    machine = await driver.start(machine_spec(image, tmp_path))
    try:
        greeting = asyncio.create_task(
            greet(machine, BootBounds(cpu_s=FOREVER_S, idle_s=1.0, wall_s=FOREVER_S))
        )
        await asyncio.sleep(0.3)
        os.kill(machine.pid, signal.SIGSTOP)
        await asyncio.sleep(2.5)
        assert not greeting.done()
        os.kill(machine.pid, signal.SIGCONT)
        assert await greeting
    finally:
        await machine.kill()
