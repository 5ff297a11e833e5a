from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from emberbox.errors import VmmDied
from emberbox.sandbox.templates.reclaim import give_back, reclaim_idle
from emberbox.vmm.base import MemoryUse


class Balloon:
    """A machine that notes what it is asked for."""

    def __init__(self, available_mib: int | None = 200, fails: bool = False) -> None:
        self.spec = SimpleNamespace(memory_mib=256)
        self.asked: list[int | None] = []
        self._available_mib = available_mib
        self._fails = fails

    async def reclaim(self, leave_mib: int | None) -> None:
        self.asked.append(leave_mib)

    async def memory_use(self) -> MemoryUse:
        if self._fails:
            raise VmmDied("gone")
        return MemoryUse(held_mib=256, available_mib=self._available_mib)


def ready(machine: Any, age_s: float = 100.0) -> Any:
    return SimpleNamespace(id="m-1", machine=machine, made=time.monotonic() - age_s, reclaimed=False)


async def test_an_idle_guest_keeps_a_quarter_of_what_it_could_give() -> None:
    live = ready(Balloon())
    assert await reclaim_idle(live, 30, lambda: True)
    assert live.machine.asked == [256 - 150]
    assert not await reclaim_idle(live, 30, lambda: True), "once is enough"
    await give_back(live)
    assert live.machine.asked == [106, None]


@pytest.mark.parametrize(
    ("machine", "age_s", "after_s"),
    [
        (Balloon(), 10.0, 30.0),
        (Balloon(), 100.0, 0.0),
        (Balloon(available_mib=20), 100.0, 30.0),
        (Balloon(available_mib=None), 100.0, 30.0),
        (Balloon(fails=True), 100.0, 30.0),
        (SimpleNamespace(), 100.0, 30.0),
    ],
)
async def test_who_is_not_asked(machine: Any, age_s: float, after_s: float) -> None:
    live = ready(machine, age_s)
    assert not await reclaim_idle(live, after_s, lambda: True)
    assert getattr(machine, "asked", []) == []


async def test_one_that_was_never_asked_is_given_nothing() -> None:
    live = ready(Balloon())
    await give_back(live)
    assert live.machine.asked == []


async def test_one_that_is_claimed_meanwhile_gets_all_back() -> None:
    live = ready(Balloon())
    assert not await reclaim_idle(live, 30, lambda: False)
    assert live.machine.asked == [106, None]
