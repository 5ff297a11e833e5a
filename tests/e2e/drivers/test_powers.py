"""What only some drivers can do, tested where they can."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidInput
from emberbox.vmm.base import MeasuredMachine, Rates, ReclaimingMachine, ResizableMachine
from tests.e2e.drivers.guests import execute
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.guest import GuestClient
    from emberbox.images import Image
    from emberbox.vmm.base import Driver, Machine
    from tests.e2e.drivers.conftest import Template
    from tests.e2e.drivers.kinds import Kind

READ_MIB = 8
RATE_MIB = 4


async def _read_s(client: GuestClient, device: str) -> float:
    """Return how long the guest takes to read `READ_MIB` of a drive past its cache, by the host's clock."""
    begun = time.monotonic()
    await execute(
        client,
        "dd",
        f"if={device}",
        "of=/dev/null",
        "bs=1M",
        f"count={READ_MIB}",
        "iflag=direct",
        "status=none",
    )
    return time.monotonic() - begun


async def test_reading_a_drive_is_bounded(template: Template, image: Image, tmp_path: Path) -> None:
    rates = Rates(disk_bytes_per_s=RATE_MIB * 1024 * 1024)
    clone = await template.loaded.restore(replace(machine_spec(image, tmp_path), rates=rates))
    try:
        async with talk(clone) as client:
            await separate(client, clone)
            took_s = await _read_s(client, "/dev/vda")
    finally:
        await clone.kill()
    # A second's worth may come in one burst. Without a bound it takes a tenth, where nothing else is done.
    assert took_s >= (READ_MIB / RATE_MIB - 1) * 0.95


async def test_a_guest_gives_memory_back(clone: Machine) -> None:
    if not isinstance(clone, ReclaimingMachine):
        pytest.skip("this driver's machines do not give memory back")
    whole = (await clone.memory_use()).held_mib
    await clone.reclaim(clone.spec.memory_mib // 2)
    async with asyncio.timeout(PATIENCE_S):
        while (await clone.memory_use()).held_mib >= whole:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await clone.reclaim(None)
    async with talk(clone) as client:
        await separate(client, clone)


async def test_a_vmm_counts_what_it_does(clone: Machine) -> None:
    if not isinstance(clone, MeasuredMachine):
        pytest.skip("this driver's machines count nothing")
    first = await clone.counters()
    assert first
    async with talk(clone) as client:
        await client.hello(timeout_s=PATIENCE_S)
        await _read_s(client, "/dev/vda")
    later = await clone.counters()
    assert all(later.get(name, 0) >= value for name, value in first.items()), "a counter went back"
    assert any(later[name] > first.get(name, 0) for name in later)


async def test_a_machine_grows_within_its_bounds(
    kind: Kind, driver: Driver, clone: Machine, image: Image, tmp_path: Path
) -> None:
    if not isinstance(clone, ResizableMachine):
        pytest.skip("this driver's machines keep their size")
    machine = await driver.start(replace(machine_spec(image, tmp_path), memory_max_mib=512))
    try:
        assert isinstance(machine, ResizableMachine)
        async with talk(machine) as client:
            await client.hello(timeout_s=PATIENCE_S)
            before = (await client.info()).memory_total or 0
            for wrong in (machine.spec.memory_mib - 1, 513):
                with pytest.raises(InvalidInput):
                    await machine.resize_memory(wrong)
            await machine.resize_memory(512)
            # A peer has no device that adds memory: it only follows the protocol.
            async with asyncio.timeout(PATIENCE_S):
                while not kind.peer and ((await client.info()).memory_total or 0) <= before:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await client.ping(timeout_s=PATIENCE_S)
    finally:
        await machine.kill()
