"""Slots are bounded, used again, and handed out in order."""

from __future__ import annotations

import asyncio

import pytest

from emberbox.errors import CapacityExhausted, InvalidInput
from emberbox.sandbox.machines.slots import Slots
from tests.patience import PATIENCE_S

ROOM, NEED = 1000, 10
"""MiB that all may have together, and that one takes where it does not matter."""


async def test_the_lowest_free_number_comes_next() -> None:
    slots = Slots(100, 3, ROOM)
    taken = [await slots.take(NEED, 1) for _ in range(3)]
    assert taken == [100, 101, 102]
    slots.give_back(101)
    slots.give_back(100)
    assert await slots.take(NEED, 1) == 100
    assert slots.in_use == 2


async def test_waiting_is_bounded_and_told() -> None:
    slots = Slots(0, 1, ROOM)
    await slots.take(NEED, 1)
    with pytest.raises(
        CapacityExhausted, match=r"all 1 machines are in use, and none became free within 0\.01 s"
    ):
        await slots.take(NEED, 0.01)
    slots.give_back(0)
    assert await slots.take(NEED, 0.01) == 0


async def test_who_waits_longest_is_next() -> None:
    slots = Slots(0, 1, ROOM)
    await slots.take(NEED, 1)
    order: list[str] = []

    async def taker(name: str) -> None:
        number = await slots.take(NEED, PATIENCE_S)
        order.append(name)
        slots.give_back(number)

    waiting = [asyncio.ensure_future(taker(name)) for name in "abc"]
    await asyncio.sleep(0.01)
    slots.give_back(0)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]


async def test_a_cancelled_taker_takes_nothing() -> None:
    slots = Slots(0, 1, ROOM)
    await slots.take(NEED, 1)
    waiting = asyncio.ensure_future(slots.take(NEED, PATIENCE_S))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    slots.give_back(0)
    assert await slots.take(NEED, 0.1) == 0


async def test_memory_is_promised_once() -> None:
    slots = Slots(0, 9, ROOM)
    first = await slots.take(600, 1)
    assert (slots.committed_mib, slots.fits(400), slots.fits(401)) == (600, True, False)
    second = await slots.take(400, 1)
    with pytest.raises(CapacityExhausted, match=r"1,000 of the 1,000 MiB .* raise capacity\.memory_mib"):
        await slots.take(1, 0.01)
    waiting = asyncio.ensure_future(slots.take(500, PATIENCE_S))
    await asyncio.sleep(0.01)
    slots.give_back(second)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    slots.give_back(first)
    assert await waiting in (first, second)
    assert slots.committed_mib == 500


async def test_what_never_fits_is_refused_at_once() -> None:
    slots = Slots(0, 9, ROOM)
    with pytest.raises(InvalidInput, match=r"needs 1,001 MiB never fits into the 1,000 MiB"):
        await slots.take(1001, PATIENCE_S)
    assert slots.in_use == 0


async def test_who_needs_much_is_not_passed_over() -> None:
    slots = Slots(0, 9, ROOM)
    first = await slots.take(600, 1)
    order: list[str] = []

    async def taker(name: str, memory_mib: int) -> None:
        await slots.take(memory_mib, PATIENCE_S)
        order.append(name)

    waiting = [asyncio.ensure_future(taker("much", 800)), asyncio.ensure_future(taker("little", 100))]
    await asyncio.sleep(0.01)
    assert order == []
    slots.give_back(first)
    await asyncio.gather(*waiting)
    assert order == ["much", "little"]


async def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    slots = Slots(0, 9, ROOM)
    await slots.take(600, 1)
    much = asyncio.ensure_future(slots.take(800, PATIENCE_S))
    little = asyncio.ensure_future(slots.take(100, PATIENCE_S))
    await asyncio.sleep(0.01)
    much.cancel()
    await asyncio.wait_for(little, PATIENCE_S)
    assert slots.committed_mib == 700


async def test_a_turn_that_comes_with_the_cancellation_goes_back() -> None:
    slots = Slots(0, 1, ROOM)
    number = await slots.take(NEED, 1)
    waiting = asyncio.ensure_future(slots.take(NEED, PATIENCE_S))
    await asyncio.sleep(0.01)
    slots.give_back(number)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (slots.in_use, slots.fits(NEED)) == (0, True)


async def test_stock_is_given_up_until_it_makes_room() -> None:
    slots = Slots(0, 9, ROOM)
    stock = [await slots.take(200, 1) for _ in range(5)]

    def give_up_one() -> int:
        if not stock:
            return 0
        asyncio.get_running_loop().call_soon(slots.give_back, stock.pop())
        return 200

    slots.on_shortage = give_up_one
    await slots.take(500, PATIENCE_S)
    assert len(stock) == 2
