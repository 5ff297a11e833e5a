"""The stock of VMMs that were started ahead of time: bounded, ended when idle, counted."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import PoolSettings
from emberbox.errors import InvalidSettings, VmmStartFailed
from emberbox.sandbox.machines import standby as standby_module
from emberbox.sandbox.machines.book import Place
from emberbox.sandbox.machines.slots import Slots
from emberbox.sandbox.machines.standby import ReservedStandby, StandbyStatus, StandbyStock
from emberbox.tasks import TaskKeeper, UndoStack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

WAIT_S = 180.0


class Waiting:
    """A standby that only says whether it lives."""

    def __init__(self) -> None:
        self.alive = True


class Template:
    """An opened snapshot that prepares standbys, and keeps those that live."""

    def __init__(self, *, fails: int = 0, slots: Slots | None = None) -> None:
        self.fails = fails
        self.slots = slots
        self.live: list[Waiting] = []
        self.made = 0

    async def prepare(self, spec: Any) -> Any:
        raise NotImplementedError

    async def restore(self, spec: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def make(self, snapshot: Any) -> ReservedStandby | None:
        assert snapshot is self
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise VmmStartFailed("not today")
        undo = UndoStack()
        if self.slots is not None:
            if not self.slots.fits(1):
                return None
            undo.push_call(self.slots.give_back, await self.slots.take(1, WAIT_S))
        waiting = Waiting()
        self.live.append(waiting)
        self.made += 1
        undo.push_call(self.live.remove, waiting)
        book: Any = None
        spec: Any = SimpleNamespace(id=f"m-{self.made}", memory_mib=128)
        place = Place(book, spec, undo, runtime="toy", source="clone")
        return ReservedStandby(place=place, standby=waiting)  # type: ignore[arg-type]


@pytest.fixture
async def keeper() -> AsyncIterator[TaskKeeper]:
    made = TaskKeeper()
    yield made
    await made.cancel()


async def reached(condition: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came to that")


async def test_a_template_has_standbys_from_its_second_clone_on(keeper: TaskKeeper) -> None:
    stock, template = StandbyStock(PoolSettings(standby=2), 8, keeper), Template()
    assert stock.take(template, template.make) is None
    await asyncio.sleep(0.05)
    assert template.made == 0, "a program that runs once pays nothing"
    assert stock.take(template, template.make) is None
    await reached(lambda: stock.ready(template) == 2)
    found = stock.take(template, template.make)
    assert found is not None
    taken: Any = found.standby
    assert taken is template.live[0]
    await reached(lambda: stock.ready(template) == 2)
    assert stock.status() == StandbyStatus(ready=2, started=3, used=1)
    await stock.close()
    assert template.live == [taken], "what was taken is its taker's"
    assert stock.take(template, template.make) is None


async def test_nothing_is_kept_where_that_is_off_or_the_driver_cannot(keeper: TaskKeeper) -> None:
    class Plain:
        async def restore(self, spec: Any) -> Any:
            raise NotImplementedError

        async def close(self) -> None:
            pass

    off, on, template = (
        StandbyStock(PoolSettings(standby=0), 8, keeper),
        StandbyStock(PoolSettings(), 8, keeper),
        Template(),
    )
    for _ in range(3):
        assert off.take(template, template.make) is None
        assert on.take(Plain(), template.make) is None
    await asyncio.sleep(0.05)
    assert template.made == 0
    await on.close()


async def test_all_templates_share_one_bound(keeper: TaskKeeper) -> None:
    stock = StandbyStock(PoolSettings(standby=2), 3, keeper)
    templates = [Template() for _ in range(3)]
    for template in (*templates, *templates):
        stock.take(template, template.make)
    await reached(lambda: stock.status().ready == 3)
    await asyncio.sleep(0.05)
    assert sum(len(template.live) for template in templates) == 3
    await stock.close()
    assert not any(template.live for template in templates)


async def test_what_is_idle_is_ended(keeper: TaskKeeper) -> None:
    stock, template = StandbyStock(PoolSettings(standby=2, standby_idle_s=1), 8, keeper), Template()
    for _ in range(2):
        stock.take(template, template.make)
    await reached(lambda: len(template.live) == 2)
    await reached(lambda: not template.live)
    assert stock.status().ready == 0
    await stock.close()


async def test_what_died_while_it_waited_is_not_handed_out(keeper: TaskKeeper) -> None:
    stock, template = StandbyStock(PoolSettings(standby=2), 8, keeper), Template()
    for _ in range(2):
        stock.take(template, template.make)
    await reached(lambda: stock.ready(template) == 2)
    dead, healthy = template.live
    dead.alive = False
    found = stock.take(template, template.make)
    assert found is not None
    taken: Any = found.standby
    assert taken is healthy
    assert stock.status().lost == 1
    await stock.close()
    assert dead not in template.live


async def test_a_start_that_fails_is_tried_again_later(
    keeper: TaskKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby_module, "RETRY_S", 0.01)
    monkeypatch.setattr(standby_module, "_LOOK_S", 0.02)
    stock, template = StandbyStock(PoolSettings(standby=1), 8, keeper), Template(fails=2)
    for _ in range(2):
        assert stock.take(template, template.make) is None
    await reached(lambda: stock.ready(template) == 1)
    assert stock.status().failures == 2
    await stock.close()


async def test_who_needs_a_slot_gets_that_of_a_standby(keeper: TaskKeeper) -> None:
    slots = Slots(0, 2, 1000)
    stock, template = StandbyStock(PoolSettings(standby=2), 2, keeper), Template(slots=slots)
    slots.on_shortage = stock.give_up_one
    for _ in range(2):
        stock.take(template, template.make)
    await reached(lambda: stock.ready(template) == 2)
    taken = {await slots.take(1, WAIT_S), await slots.take(1, WAIT_S)}
    assert taken == {0, 1}
    assert not slots.fits(1)
    assert not stock.give_up_one()
    await stock.close()


@pytest.mark.parametrize("wrong", [{"standby": 33}, {"standby_idle_s": 0.5}])
def test_settings_that_cannot_be_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=f"pool.{next(iter(wrong))} must be"):
        PoolSettings(**wrong)
