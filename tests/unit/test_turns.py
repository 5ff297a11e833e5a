"""Places that owners take in turn."""

from __future__ import annotations

import asyncio

from emberbox.turns import Turns


async def test_owners_take_turns_however_many_each_wants() -> None:
    turns, order = Turns(1), []
    held = asyncio.Event()

    async def one(owner: str) -> None:
        async with turns.place(owner):
            order.append(owner)
            await held.wait()

    tasks = [asyncio.create_task(one(owner)) for owner in "aaaabcb"]
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(*tasks)
    assert order == list("aabcaba")


async def test_who_is_cancelled_while_it_waits_leaves_no_gap() -> None:
    turns = Turns(1)
    entered = []

    async def one(name: str) -> None:
        async with turns.place(name):
            entered.append(name)

    async with turns.place("first"):
        tasks = {name: asyncio.create_task(one(name)) for name in ("gone", "late", "stays")}
        await asyncio.sleep(0)
        tasks["gone"].cancel()
        await asyncio.sleep(0)
    # The place is on its way to the next one, who is cancelled at this very moment.
    tasks["late"].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert entered == ["stays"]
    async with asyncio.timeout(60), turns.place("after"):
        pass


async def test_an_owner_holds_no_more_than_its_share_and_leaves_the_rest_to_others() -> None:
    turns, order = Turns(3, each=2), []
    held = asyncio.Event()

    async def one(owner: str) -> None:
        async with turns.place(owner):
            order.append(owner)
            await held.wait()

    tasks = [asyncio.create_task(one(owner)) for owner in "aaaab"]
    await asyncio.sleep(0)
    assert order == list("aab")
    held.set()
    await asyncio.gather(*tasks)
    assert order == list("aabaa")
    assert await _most_at_once(turns, "aaaa") == 2, "nothing is left of who held places before"


async def _most_at_once(turns: Turns, owners: str) -> int:
    inside: list[int] = [0]

    async def one(owner: str) -> None:
        async with turns.place(owner):
            inside.append(inside[-1] + 1)
            await asyncio.sleep(0)
            inside.append(inside[-1] - 1)

    await asyncio.gather(*(one(owner) for owner in owners))
    return max(inside)
