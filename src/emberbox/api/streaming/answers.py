"""Answers that go on: what an iterator yields, until it ends or its reader leaves.

Memory stays flat however slow a reader is: the next piece is asked for when the last one was taken
by the connection.
"""

from __future__ import annotations

from contextlib import aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from fastapi import Response

from emberbox.api.streaming.ending import first_of, gone, key_lost
from emberbox.api.streaming.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.types import Receive, Scope, Send

    from emberbox.api.streaming.followers import Follower

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
_END = {"type": "http.response.body", "body": b"", "more_body": False}


class StreamAnswer(Response):
    """Sends what `chunks` yields, and closes it, whoever ends the stream.

    A failure before the first chunk is answered as any other; one after it closes the connection
    before the end, which the reader can tell.

    Args:
        chunks: What is sent. The answer's head goes out with the first one.
        media_type: The content type.
        headers: Besides those that keep what stands between from storing or collecting the answer.
        follower: Has the place that the stream takes while it lasts; None for one that ends by itself.
        heartbeat: Sent when there was nothing else for a while; None sends nothing.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        follower: Follower | None = None,
        heartbeat: bytes | None = None,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(_HEADERS | dict(headers or {}))
        self._chunks = chunks
        self._follower = follower
        self._heartbeat = heartbeat
        self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Cancelling it frees everything.

        Raises:
            QuotaExceeded, CapacityExhausted: There is no place for another stream; nothing was sent.
        """
        async with aclosing(self._chunks):
            with nullcontext() if self._follower is None else self._follower.place:
                first = await anext(self._chunks, b"")
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await self._go_on(first, scope, receive, send)

    async def _go_on(self, first: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, the reader's leaving, or the end of its key or of the service.

        Without its key a stream ends as one that breaks: it must not look complete.
        """
        pulse = Pulse()
        heartbeat = None if self._heartbeat is None else partial(_send_chunk, send, self._heartbeat)
        work = [self._send_all(first, send, pulse), gone(receive), pulse.beat(heartbeat), key_lost(scope)]
        # What follows nothing ends by itself, and is not cut short.
        leaving = None if self._follower is None else self._follower.leaving
        await first_of(*work, *([] if leaving is None else [leaving.wait()]))
        if leaving is not None and leaving.is_set() and not self._complete:
            await send(dict(_END))

    async def _send_all(self, first: bytes, send: Send, pulse: Pulse) -> None:
        await pulse.send(_send_chunk(send, first))
        async for chunk in self._chunks:
            await pulse.send(_send_chunk(send, chunk))
        self._complete = True
        await send(dict(_END))


async def _send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
