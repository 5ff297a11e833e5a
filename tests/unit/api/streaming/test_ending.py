"""Work that ends with the first of several."""

from __future__ import annotations

import asyncio

import pytest

from emberbox.api.streaming.ending import first_of
from emberbox.errors import InvalidInput


async def test_the_first_one_ends_the_others() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def soon() -> None:
        await asyncio.sleep(0)

    await first_of(forever(), soon(), forever())
    assert ended == [True, True]


async def test_the_first_failure_is_raised() -> None:
    async def fails() -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        await first_of(asyncio.sleep(3600), fails())


async def test_cancelling_cancels_all() -> None:
    tasks = asyncio.all_tasks()
    task = asyncio.ensure_future(first_of(asyncio.sleep(3600), asyncio.sleep(3600)))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert asyncio.all_tasks() == tasks
