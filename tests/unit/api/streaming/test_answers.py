"""Streams that end with whoever leaves first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.api.streaming.answers import StreamAnswer
from emberbox.api.streaming.followers import Followers
from emberbox.config import Settings
from emberbox.errors import InvalidInput
from tests.accounts import key_record
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def answered(answer: StreamAnswer, *, leave_after: int | None = None) -> list[dict[str, Any]]:
    """Serve an answer to a caller that leaves after some messages, and return what was sent."""
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == leave_after:
            left.set()
            await asyncio.sleep(0)

    await asyncio.wait_for(answer({"type": "http"}, receive, send), PATIENCE_S)
    return sent


async def test_all_is_sent_and_the_generator_closed() -> None:
    closed = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    sent = await answered(StreamAnswer(chunks(), media_type="text/plain"))
    assert [m.get("body") for m in sent] == [None, b"a", b"b", b""]
    assert [m.get("more_body") for m in sent] == [None, True, True, False]
    assert closed == [True]


async def test_who_leaves_ends_it() -> None:
    closed = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    followers = Followers(Settings(), leaving=asyncio.Event())
    follower = followers.one(key_record())
    await answered(StreamAnswer(chunks(), media_type="text/plain", follower=follower), leave_after=2)
    assert closed == [True]
    assert followers.count == 0


async def test_a_failure_before_the_first_chunk_sends_nothing() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        raise InvalidInput("no")
        yield b""

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(InvalidInput):
        await StreamAnswer(chunks(), media_type="text/plain")({"type": "http"}, receive, send)
    assert sent == []


async def test_a_failure_in_the_middle_does_not_look_like_an_end() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        await answered(StreamAnswer(chunks(), media_type="text/plain"))


async def test_a_follower_is_let_go_when_all_should_leave() -> None:
    leaving = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"
        leaving.set()
        await asyncio.Event().wait()

    follower = Followers(Settings(), leaving=leaving).one(key_record())
    sent = await answered(StreamAnswer(chunks(), media_type="text/plain", follower=follower))
    assert [m.get("body") for m in sent] == [None, b"a", b""]
    assert sent[-1]["more_body"] is False
