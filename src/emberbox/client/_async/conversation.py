"""A running job, talked to: its output comes out, its input goes in. Over a WebSocket."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from emberbox.client.events import LONGEST_EVENT
from emberbox.client.log_events import JobEnded, read_message
from emberbox.client.places import unreachable
from emberbox.client.problems import error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from emberbox.client.log_events import JobEvent
    from emberbox.client.places import Place

_log = logging.getLogger(__name__)
# At DEBUG, websockets would log the headers, and the key with them.
_log.setLevel(logging.INFO)
OPEN_S = 10.0
PIECE_BYTES = 256 * 1024
"""Input is sent in messages of at most this size, below what the server takes."""


class AsyncConversation:
    """What `jobs.attach` gives: iterate over it for output, and write input meanwhile.

    Input may be written from another task or thread.
    A connection that breaks is not made anew, since input may have been lost with it; the job goes on.
    """

    def __init__(self, place: Place, socket: ClientConnection) -> None:
        self._place = place
        self._socket = socket

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        """Yield progress, output, attempts and, last, the job's end.

        Raises:
            EmberboxError: What the server refused of what was sent: `Conflict` when the job has
                ended before its input came.
            ServerUnreachable: The connection broke.
        """
        while True:
            try:
                told = read_message(await self._socket.recv())
            except ConnectionClosed as error:
                raise unreachable(
                    self._place.server, "the connection to the job broke; it goes on without it"
                ) from error
            except (ValueError, KeyError, TypeError) as error:
                raise unreachable(self._place.server, f"what it says cannot be read: {error}") from error
            if told is not None:
                yield told
            if isinstance(told, JobEnded):
                return

    async def write(self, data: bytes | str) -> None:
        """Give the program input; waits while it takes none.

        Raises `ServerUnreachable` when the connection is gone.
        """
        view = memoryview(data.encode() if isinstance(data, str) else data)
        for start in range(0, len(view), PIECE_BYTES):
            await self._send(bytes(view[start : start + PIECE_BYTES]))

    async def close_stdin(self) -> None:
        """Let the program see the end of its input."""
        await self._send(json.dumps({"type": "close_stdin"}))

    async def signal(self, signal: int | str) -> None:
        """Send the program a signal, by its number or name (`SIGINT`)."""
        await self._send(json.dumps({"type": "signal", "signal": signal}))

    async def cancel(self) -> None:
        """Ask for the job's end."""
        await self._send(json.dumps({"type": "cancel"}))

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise unreachable(self._place.server, "the connection to the job is closed") from error


@asynccontextmanager
async def converse(
    place: Place, job: str, after: str | None, *, binary: bool
) -> AsyncIterator[AsyncConversation]:
    """Open a conversation with a job, and close it with the block; the job goes on.

    Raises:
        EmberboxError: The server's refusal; `ServerUnreachable` when it does not answer.
    """
    query = "&".join(
        [f"encoding={'base64' if binary else 'text'}", *([] if after is None else [f"after={after}"])]
    )
    options: dict[str, Any] = {"open_timeout": OPEN_S, "max_size": LONGEST_EVENT, "logger": _log}
    if place.local:
        options["proxy"] = None
    if place.api_key is not None:
        options["additional_headers"] = {"Authorization": f"Bearer {place.api_key}"}
    try:
        opened = await connect(f"ws{place.server.removeprefix('http')}{job}/stream?{query}", **options)
    except InvalidStatus as error:
        answer = error.response
        raise error_of(answer.status_code, answer.headers, bytes(answer.body or b"")) from error
    except (OSError, WebSocketException) as error:
        raise unreachable(place.server, str(error) or type(error).__name__) from error
    async with opened as socket:
        yield AsyncConversation(place, socket)
