"""Slots are bounded, used again, and handed out in order."""

from __future__ import annotations

import asyncio

import pytest

from emberbox.errors import CapacityExhausted
from emberbox.sandbox.machines.slots import Slots
from tests.patience import PATIENCE_S


async def test_the_lowest_free_number_comes_next() -> None:
    slots = Slots(100, 3)
    taken = [await slots.take(1) for _ in range(3)]
    assert taken == [100, 101, 102]
    slots.give_back(101)
    slots.give_back(100)
    assert await slots.take(1) == 100
    assert slots.in_use == 2


async def test_waiting_is_bounded_and_told() -> None:
    slots = Slots(0, 1)
    await slots.take(1)
    with pytest.raises(
        CapacityExhausted, match=r"all 1 machines are in use, and none became free within 0\.01 s"
    ):
        await slots.take(0.01)
    slots.give_back(0)
    assert await slots.take(0.01) == 0


async def test_who_waits_longest_is_next() -> None:
    slots = Slots(0, 1)
    await slots.take(1)
    order: list[str] = []

    async def taker(name: str) -> None:
        number = await slots.take(PATIENCE_S)
        order.append(name)
        slots.give_back(number)

    waiting = [asyncio.ensure_future(taker(name)) for name in "abc"]
    await asyncio.sleep(0.01)
    slots.give_back(0)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]


async def test_a_cancelled_taker_takes_nothing() -> None:
    slots = Slots(0, 1)
    await slots.take(1)
    waiting = asyncio.ensure_future(slots.take(PATIENCE_S))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    slots.give_back(0)
    assert await slots.take(0.1) == 0
