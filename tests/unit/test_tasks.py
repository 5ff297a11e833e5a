"""Tasks that are never orphans, and undo that is never cut short."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from emberbox.tasks import TaskKeeper, UndoStack, acquired, set_within, shielded, undone_on_failure
from tests.patience import PATIENCE_S


async def test_undo_runs_last_in_first_out_and_survives_a_failing_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []

    async def failing() -> None:
        done.append("failing")
        raise OSError("no")

    undo = UndoStack()
    undo.push_call(done.append, "first")
    undo.push(failing)
    undo.push_call(done.append, "last")
    with caplog.at_level(logging.WARNING):
        await undo.close()
    assert done == ["last", "failing", "first"]
    assert "clean-up step failed: no" in caplog.text
    await undo.close()
    assert len(done) == 3


async def test_undo_finishes_when_its_caller_is_cancelled() -> None:
    done: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.05)
        done.append("slow")

    undo = UndoStack()
    undo.push_call(done.append, "first")
    undo.push(slow)
    closing = asyncio.ensure_future(undo.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert done == ["slow", "first"]


async def test_two_closers_wait_for_the_same_undo() -> None:
    runs: list[int] = []

    async def slow() -> None:
        await asyncio.sleep(0.02)
        runs.append(1)

    undo = UndoStack()
    undo.push(slow)
    await asyncio.gather(undo.close(), undo.close())
    assert runs == [1]


async def test_shielded_returns_and_raises_what_the_work_does() -> None:
    async def fails() -> None:
        raise ValueError("x")

    assert await shielded(asyncio.sleep(0, "value")) == "value"
    with pytest.raises(ValueError, match="x"):
        await shielded(fails())


async def test_an_event_is_waited_for_within_a_bound() -> None:
    event = asyncio.Event()
    assert not await set_within(event, 0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await set_within(event, 3600)


async def test_a_keeper_logs_failures_and_settles(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("lost")

    keeper = TaskKeeper()
    keeper.start(fails(), "f")
    later = keeper.start(asyncio.sleep(0.01, 5), "later")
    await keeper.settle()
    assert later.result() == 5
    assert "background task f failed: lost" in caplog.text


async def test_a_keeper_cancels_what_runs() -> None:
    keeper = TaskKeeper()
    task = keeper.start(asyncio.sleep(3600), "long")
    await keeper.cancel()
    assert task.cancelled()


async def test_a_cancellation_that_is_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.tasks.AGAIN_S", 0.01)

    async def loses_the_first() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    keeper = TaskKeeper()
    task = keeper.start(loses_the_first(), "deaf")
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await keeper.cancel()
    assert task.cancelled()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_is_acquired_under_a_cancellation_is_undone(when: str) -> None:
    begun, go_on, undone = asyncio.Event(), asyncio.Event(), []

    async def acquiring() -> str:
        begun.set()
        await go_on.wait()
        return "a process"

    async def undo(process: str) -> None:
        await asyncio.sleep(0)
        undone.append(process)

    task = asyncio.create_task(acquired(acquiring(), undo))
    await begun.wait()
    if when == "after":
        go_on.set()
        assert await task == "a process"
        assert undone == []
        return
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done(), "it goes on to its end"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["a process"]


async def test_what_cannot_be_acquired_is_told_and_nothing_is_undone() -> None:
    async def acquiring() -> str:
        raise OSError("no such program")

    async def undo(process: str) -> None:
        raise AssertionError

    with pytest.raises(OSError, match="no such program"):
        await acquired(acquiring(), undo)


async def test_a_failure_is_undone_once_and_a_success_is_not() -> None:
    undone: list[str] = []

    async def undo() -> None:
        undone.append("undone")

    async with undone_on_failure(undo):
        pass
    assert undone == []
    with pytest.raises(OSError, match="it ended"):
        async with undone_on_failure(undo):
            raise OSError("it ended")
    assert undone == ["undone"]


async def test_what_is_cancelled_is_undone_to_its_end_though_it_is_cancelled_again() -> None:
    begun, go_on, undone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def undo() -> None:
        begun.set()
        await go_on.wait()
        undone.set()

    async def work() -> None:
        async with undone_on_failure(undo):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone.is_set()
