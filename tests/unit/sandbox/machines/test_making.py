"""Machines are made whole or not at all, with a driver and agents that are stand-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from emberbox.config import PoolSettings, Settings
from emberbox.errors import CapacityExhausted, VmmStartFailed
from emberbox.images import Image
from emberbox.sandbox.machines.book import MachineBook
from emberbox.sandbox.machines.kept import KeptMachines
from emberbox.sandbox.machines.making import MachineMaker
from emberbox.sandbox.machines.places import Places
from emberbox.sandbox.machines.plan import MachinePlan, MachineSize
from emberbox.sandbox.machines.runfolder import RunFolder
from emberbox.sandbox.machines.slots import Slots
from emberbox.sandbox.machines.standby import StandbyStock
from emberbox.tasks import TaskKeeper
from tests.patience import PATIENCE_S, until
from tests.unit.sandbox.stand_ins import StandIn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Bench:
    """A maker, and all that it was given."""

    def __init__(self, tmp_path: Path, folder: RunFolder) -> None:
        self.driver = StandIn()
        self.folder = folder
        self.slots = Slots(0, 2, 1000)
        self.book = MachineBook(KeptMachines(tmp_path / "ended", count=4, age_s=1000), self.driver.name)
        self.keeper = TaskKeeper()
        self.standbys = StandbyStock(PoolSettings(standby=1), 1, self.keeper)
        settings = Settings(data=tmp_path)
        places = Places(folder, self.slots, settings, self.book)
        self.maker = MachineMaker(cast("Any", self.driver), places, settings.vmm, 2, self.standbys)
        files = {name: tmp_path / name for name in ("kernel", "initramfs", "rootfs")}
        image = Image(runtime="toy", key="abc", sizes={}, digests={}, **files)
        self.plan = MachinePlan(
            image=image, size=MachineSize(vcpus=1, memory_mib=128), layers=(tmp_path / "l",)
        )

    @property
    def clean(self) -> bool:
        return self.slots.in_use == 0 and not list(self.folder.path.iterdir())


async def _nothing(folder: Path) -> list[int]:
    return []


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    folder = await RunFolder.claim(tmp_path / "run", _nothing)
    made = Bench(tmp_path, folder)
    yield made
    await made.standbys.close()
    await made.keeper.cancel()
    folder.release()


async def test_a_cold_machine_is_in_the_book_until_its_end(bench: Bench) -> None:
    live = await bench.maker.boot(bench.plan)
    (entry,) = await bench.book.entries()
    assert (entry.id, entry.source, entry.state, entry.runtime) == (live.id, "cold", "running", "toy")
    spec = bench.driver.made[0].spec
    assert [drive.path.name for drive in spec.drives] == ["rootfs", "l"]
    assert spec.kernel_args[-1] == "emberbox.layers=1"
    assert bench.driver.made[0].agent.requests[0]["hostname"] == f"ember-{live.id}"
    await live.undo.close()
    assert await bench.book.entries() == []
    assert bench.clean


async def test_a_clone_is_told_who_it_is(bench: Bench) -> None:
    live = await bench.maker.clone(cast("Any", bench.driver), bench.plan)
    await live.confirm(PATIENCE_S)
    assert live.metrics.source == "clone"
    assert live.resume is None
    assert bench.driver.made[0].agent.requests[0]["hostname"] == f"ember-{live.id}"
    await live.undo.close()
    assert bench.clean


@pytest.mark.parametrize("way", ["boot", "clone"])
async def test_what_fails_leaves_a_word_and_nothing_else(bench: Bench, way: str) -> None:
    bench.driver.broken = 1
    with pytest.raises(VmmStartFailed):
        await (
            bench.maker.boot(bench.plan)
            if way == "boot"
            else bench.maker.clone(cast("Any", bench.driver), bench.plan)
        )
    (entry,) = await bench.book.entries()
    assert (entry.state, entry.reason) == ("exited", "not today")
    assert bench.clean


async def test_from_the_second_clone_on_a_standby_is_taken(bench: Bench) -> None:
    for _ in range(2):
        live = await bench.maker.clone(cast("Any", bench.driver), bench.plan)
        await live.undo.close()
    await until(lambda: bench.standbys.status().ready == 1)
    live = await bench.maker.clone(cast("Any", bench.driver), bench.plan)
    assert bench.standbys.status().used == 1
    assert live.machine.spec is bench.driver._spec
    await live.undo.close()


async def test_a_standby_that_breaks_is_replaced_by_a_clone(bench: Bench) -> None:
    for _ in range(2):
        await (await bench.maker.clone(cast("Any", bench.driver), bench.plan)).undo.close()
    await until(lambda: bench.standbys.status().ready == 1)
    bench.driver.broken = 1
    live = await bench.maker.clone(cast("Any", bench.driver), bench.plan)
    assert live.machine.spec.id == live.id
    assert bench.standbys.status().used == 1
    assert bench.driver.discarded == 1
    await live.undo.close()


async def test_without_a_slot_nothing_is_begun(tmp_path: Path, bench: Bench) -> None:
    settings = Settings(data=tmp_path)
    places = Places(bench.folder, Slots(0, 0, 1000), settings, bench.book)
    places._wait_s = 0.0
    with pytest.raises(CapacityExhausted):
        await places.take(bench.plan, "cold")
    assert await places.take_now(bench.plan, "clone") is None
    assert await bench.book.entries() == []
    assert bench.clean
