"""Answers that go on: what an iterator yields, until it ends or the reader goes away, with nothing left behind.

Memory stays flat however slow a reader is: the next piece is asked for when the last one was taken by the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Response

from emberbox.errors import CapacityExhausted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping

    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""A stream that says nothing for so long sends a heartbeat: proxies keep it open, and a reader that is gone is noticed."""
STALLED_S = 300.0
"""A reader that takes nothing for so long, while there is something to take, is gone. It may come back and resume."""


async def first_of(*work: Coroutine[Any, Any, Any]) -> None:
    """Run all of `work` until the first one ends; the others are cancelled and waited for. Raises what the first one raised."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(part) for part in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()


@asynccontextmanager
async def closing(items: AsyncIterator[_T]) -> AsyncIterator[AsyncIterator[_T]]:
    """Yield `items`, and close them at the end, if that is a thing that they can."""
    try:
        yield items
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


async def gone(receive: Receive) -> None:
    """Return when the other end has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Followers:
    """Counts the streams that are open at once, so that there are never more than `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place for a stream.

        Raises:
            CapacityExhausted: All places are taken.
        """
        if self.count >= self.limit:
            raise CapacityExhausted(
                f"all {self.limit} streams of this service are in use; try again later, read the log without following it, "
                "or raise server.followers"
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


def followers_of(app: FastAPI, limit: int) -> Followers:
    """Return the application's count of streams."""
    followers: Followers | None = getattr(app.state, "followers", None)
    if followers is None:
        followers = app.state.followers = Followers(limit)
    return followers


class Pulse:
    """Watches over the sending end of a stream: when it last sent, and whether it is stuck."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._began: float | None = None
        self._last = self._now()

    async def send(self, sending: Awaitable[None]) -> None:
        """Await what sends one piece, and note when that began and ended."""
        self._began = self._now()
        await sending
        self._began = None
        self._last = self._now()

    async def beat(self, heartbeat: Callable[[], Awaitable[None]] | None) -> None:
        """Send a heartbeat whenever nothing was sent for a while; return when the other end takes nothing any more."""
        while not self._stalled():
            await asyncio.sleep(HEARTBEAT_S if self._began is not None else max(self._last + HEARTBEAT_S - self._now(), 0.01))
            if self._began is None and self._last + HEARTBEAT_S <= self._now():
                self._last = self._now()
                if heartbeat is not None:
                    try:
                        await asyncio.wait_for(heartbeat(), STALLED_S)
                    except TimeoutError:
                        break
        _log.info("a reader of a stream stopped reading", extra={"action": "stream.stalled"})

    def _stalled(self) -> bool:
        return self._began is not None and self._began + STALLED_S <= self._now()


class StreamAnswer(Response):
    """Sends what `chunks` yields, and closes it, whoever ends the stream.

    A failure before the first chunk is answered as any other; one after it closes the connection before the end, which the
    reader can tell.

    Args:
        chunks: What is sent. The answer's head goes out with the first one.
        media_type: The content type.
        headers: Besides those that keep what stands between from storing or collecting the answer.
        followers: Where the stream takes a place while it lasts; None for one that ends by itself.
        heartbeat: Sent when there was nothing else for a while; None sends nothing.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        followers: Followers | None = None,
        heartbeat: bytes | None = None,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(_HEADERS | dict(headers or {}))
        self._chunks = chunks
        self._followers = followers
        self._heartbeat = heartbeat
        self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Cancelling it frees everything.

        Raises:
            CapacityExhausted: There is no place for another stream; nothing was sent.
        """
        async with aclosing(self._chunks):
            with nullcontext() if self._followers is None else self._followers.one():
                first = await anext(self._chunks, b"")
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                pulse = Pulse()
                heartbeat = None if self._heartbeat is None else partial(_send_chunk, send, self._heartbeat)
                work = [self._send_all(first, send, pulse), gone(receive), pulse.beat(heartbeat)]
                # What follows nothing ends by itself, and is not cut short.
                closing = None if self._followers is None else _closing_of(scope)
                await first_of(*work, *([] if closing is None else [_until(closing)]))
                if closing is not None and closing.is_set() and not self._complete:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, first: bytes, send: Send, pulse: Pulse) -> None:
        await pulse.send(_send_chunk(send, first))
        async for chunk in self._chunks:
            await pulse.send(_send_chunk(send, chunk))
        self._complete = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _closing_of(scope: Scope) -> asyncio.Event | None:
    """Return what is set when the service lets its followers go."""
    service = getattr(getattr(scope.get("app"), "state", None), "service", None)
    return None if service is None else service.live.closing


async def _send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
