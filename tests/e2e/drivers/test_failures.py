"""A failure, or work that is given up, leaves nothing behind and says why.

The fixture `nothing_left_behind` looks after each test.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import VmmDied, VmmStartFailed
from emberbox.vmm.base import Drive, MachineState, SnapshotDriver
from tests.e2e.drivers import traces
from tests.e2e.vmm_guests import machine_spec
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from emberbox.images import Image
    from emberbox.vmm.base import Driver, Machine
    from tests.e2e.drivers.conftest import Template


async def test_a_start_that_fails_says_why(driver: Driver, image: Image, tmp_path: Path) -> None:
    broken = tmp_path / "kernel"
    broken.write_bytes(b"not a kernel" * 1000)
    before = traces.look()
    with pytest.raises(VmmStartFailed) as caught:
        await driver.start(replace(machine_spec(image, tmp_path), kernel=broken))
    assert caught.value.detail
    with pytest.raises(VmmStartFailed, match=r"No such file.*missing"):
        await driver.start(replace(machine_spec(image, tmp_path), kernel=tmp_path / "missing"))
    with pytest.raises(VmmStartFailed, match=r"No such file.*absent"):
        await driver.start(replace(machine_spec(image, tmp_path), drives=(Drive(path=tmp_path / "absent"),)))
    if isinstance(driver, SnapshotDriver):
        memory = tmp_path / "memory"
        with pytest.raises(VmmStartFailed):
            await driver.start_template(replace(machine_spec(image, tmp_path), kernel=broken), memory)
        assert not memory.exists()
    assert not await traces.settled(before, within_s=0.1), "what failed is gone when the failure is told"


async def test_cancelled_restores_leave_nothing(template: Template, image: Image, tmp_path: Path) -> None:
    begun = asyncio.get_running_loop().time()
    await (await template.loaded.restore(machine_spec(image, tmp_path))).kill()
    whole_s = asyncio.get_running_loop().time() - begun
    before = traces.look()
    for tenth in range(10):
        spec = machine_spec(image, tmp_path)
        await _give_up(lambda spec=spec: template.loaded.restore(spec), whole_s * tenth / 10)  # type: ignore[misc]
    assert not await traces.settled(before, within_s=0.1)


async def test_cancelled_starts_leave_nothing(driver: Driver, image: Image, tmp_path: Path) -> None:
    before = traces.look()
    for delay_s in (0.0, 0.01, 0.05, 0.15):
        spec = machine_spec(image, tmp_path)
        await _give_up(lambda spec=spec: driver.start(spec), delay_s)  # type: ignore[misc]
    assert not await traces.settled(before, within_s=0.1)


async def _give_up(begin: Callable[[], Coroutine[Any, Any, Machine]], after_s: float) -> None:
    starting = asyncio.create_task(begin())
    await asyncio.sleep(after_s)
    starting.cancel()
    try:
        machine = await starting
    except asyncio.CancelledError:
        pass
    else:
        await machine.kill()


async def test_kill_finishes_though_cancelled(template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    killing = asyncio.create_task(clone.kill())
    await asyncio.sleep(0)
    killing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killing
    assert clone.poll() is MachineState.KILLED
    assert clone.pid not in traces.processes()
    await clone.kill()


async def test_a_vmm_that_dies_by_itself_is_told(template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    try:
        os.kill(clone.pid, signal.SIGKILL)
        assert await asyncio.wait_for(clone.wait(), PATIENCE_S) == -9
        assert clone.poll() is MachineState.EXITED
        with pytest.raises(VmmDied):
            await clone.open_channel()
        with pytest.raises(VmmDied):
            await clone.pause()
    finally:
        await clone.kill()
