"""What is said through the WebSocket of a job.

From the server, each as JSON in a text message with a `type`: `output` (`id, stream, time, data`),
`attempt` (`id, attempt`), `progress` (`message`), `end` (`job`), `error` (`code, detail, retryable`)
and, when there was nothing else for a while, `heartbeat`.

To the server, as JSON: `stdin` (`data` as text, or `base64`), `close_stdin`, `signal` (`signal`: a
number or a name) and `cancel`; a binary message is input as it is. Input waits for the program to
begin, and while the program does not read it; whoever sends more meanwhile is held back by the
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from fastapi import WebSocketDisconnect

from emberbox.api.statuses import STATUSES
from emberbox.api.streaming.ending import first_of, while_good
from emberbox.api.streaming.pulse import Pulse
from emberbox.api.views import compact_json, encoded, timestamp
from emberbox.errors import EmberboxError, InvalidInput, PayloadTooLarge
from emberbox.service.jobs.logs.reading import AttemptBegan, JobEnded, JobItem, JobProgress
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import WebSocket

    from emberbox.api.full_jobs import FullJobs
    from emberbox.api.streaming.incoming import Inbox

_REFUSAL_S = 10.0
"""How long the other end may take to hear why the conversation ends."""
NORMAL, UNSUITED, NOT_PERMITTED, TOO_BIG, FAILED, AGAIN = 1000, 1003, 1008, 1009, 1011, 1013


class Conversation:
    """One open WebSocket of one job.

    Args:
        socket: Accepted already.
        items: The job's log, followed.
        inbox: Takes what comes in.
        full_jobs: Tells of the job at its end.
        encoding: `text` or `base64`, of output.
    """

    def __init__(
        self,
        socket: WebSocket,
        items: AsyncGenerator[JobItem, None],
        inbox: Inbox,
        full_jobs: FullJobs,
        encoding: str,
    ) -> None:
        self._socket = socket
        self._items = items
        self._inbox = inbox
        self._full_jobs = full_jobs
        self._encoding = encoding
        self._pulse = Pulse()

    async def run(self) -> None:
        """Talk until the job has ended, the other end has left, or its key is no longer good.

        Safe to cancel; a job goes on without its listeners.
        """
        talk = first_of(self._tell(), self._listen(), self._pulse.beat(self._heartbeat))
        try:
            await while_good(self._socket.scope, talk)
        except WebSocketDisconnect:
            return
        except EmberboxError as error:
            await self._refuse(error)

    async def _tell(self) -> None:
        async with aclosing(self._items) as items:
            async for item in items:
                await self._send(await self._message(item))
        await self._socket.close(NORMAL)

    async def _message(self, item: JobItem) -> str:
        if isinstance(item, JobEnded):
            job = await shielded(self._full_jobs.view(item.job))
            return f'{{"type":"end","job":{job.model_dump_json()}}}'
        if isinstance(item, AttemptBegan):
            return compact_json(type="attempt", id=item.id, attempt=item.attempt)
        if isinstance(item, JobProgress):
            return compact_json(type="progress", message=item.message)
        data = encoded(item.data, self._encoding)
        return compact_json(
            type="output", id=item.id, stream=item.stream, time=timestamp(item.time_us), data=data
        )

    async def _listen(self) -> None:
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            asked = self._inbox.read(message.get("bytes"), message.get("text"))
            try:
                await self._inbox.obey(asked)
            except InvalidInput:
                raise
            except EmberboxError as error:
                # What the job's state forbids is answered; the conversation goes on.
                await self._say(error)

    async def _send(self, message: str) -> None:
        await self._pulse.send(self._socket.send_text(message))

    async def _heartbeat(self) -> None:
        await self._socket.send_text('{"type":"heartbeat"}')

    async def _refuse(self, error: EmberboxError) -> None:
        """Say what is wrong and close; whoever does not hear it in time is not waited for."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(_REFUSAL_S):
                await self._say(error)
                await self._socket.close(_close_code(error))

    async def _say(self, error: EmberboxError) -> None:
        await self._send(
            compact_json(type="error", code=error.code, detail=error.message, retryable=error.retryable)
        )


def _close_code(error: EmberboxError) -> int:
    if isinstance(error, PayloadTooLarge):
        return TOO_BIG
    if isinstance(error, InvalidInput):
        return UNSUITED
    if STATUSES[error.code] in (401, 403, 404):
        return NOT_PERMITTED
    return AGAIN if error.retryable else FAILED
