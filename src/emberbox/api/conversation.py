"""What is said through the WebSocket of a job.

From the server, each as JSON in a text message with a `type`: `output` (`id, stream, time, data`), `attempt` (`id, attempt`),
`end` (`job`), `error` (`code, detail, retryable`) and, when there was nothing else for a while, `heartbeat`.

To the server, as JSON: `stdin` (`data` as text, or `base64`), `close_stdin`, `signal` (`signal`: a number or a name) and
`cancel`; a binary message is input as it is. Input waits for the program to begin, and while the program does not read it;
whoever sends more meanwhile is held back by the connection.
"""

from __future__ import annotations

import base64
import binascii
import json
import signal
from typing import TYPE_CHECKING, Any

from fastapi import WebSocketDisconnect

from emberbox.api.streams import Pulse, closing, first_of
from emberbox.api.views import encoded, job_in_full, timestamp
from emberbox.errors import Conflict, EmberboxError, InvalidInput, NotAllowed, PayloadTooLarge
from emberbox.jobs.logs import AttemptBegan, JobEnded, LogRecord
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from fastapi import WebSocket

    from emberbox.jobs.live import LiveJob
    from emberbox.jobs.service import Service
    from emberbox.store.records import JobRecord, KeyRecord

MESSAGE_BYTES = 1 << 20
"""The largest message that is taken."""
NORMAL, UNSUITED, NOT_PERMITTED, TOO_BIG, FAILED, AGAIN = 1000, 1003, 1008, 1009, 1011, 1013
_LOOK_S = 5.0


class Conversation:
    """One open WebSocket of one job.

    Args:
        socket: Accepted already.
        service: Where the job runs.
        key: Whose job it is.
        job: As it was at the beginning.
        after: Output begins behind this entry; None for the beginning.
        encoding: `text` or `base64`, of output.
    """

    def __init__(
        self, socket: WebSocket, service: Service, key: KeyRecord, job: JobRecord, *, after: str | None, encoding: str
    ) -> None:
        self._socket = socket
        self._service = service
        self._key = key
        self._job = job
        self._after = after
        self._encoding = encoding
        self._pulse = Pulse()

    async def run(self) -> None:
        """Talk until the job has ended or the other end has left. Safe to cancel; a job goes on without its listeners."""
        try:
            await first_of(self._tell(), self._listen(), self._pulse.beat(self._heartbeat))
        except WebSocketDisconnect:
            return
        except EmberboxError as error:
            await self._refuse(error, _close_code(error))

    async def _tell(self) -> None:
        async with closing(self._service.logs.follow(self._job.id, after=self._after)) as items:
            async for item in items:
                await self._send(await self._message(item))
        await self._socket.close(NORMAL)

    async def _message(self, item: LogRecord | AttemptBegan | JobEnded) -> str:
        if isinstance(item, JobEnded):
            job = await shielded(job_in_full(self._service, item.job))
            return f'{{"type":"end","job":{job.model_dump_json()}}}'
        if isinstance(item, AttemptBegan):
            return _json(type="attempt", id=item.id, attempt=item.attempt)
        data = encoded(item.data, self._encoding)
        return _json(type="output", id=item.id, stream=item.stream, time=timestamp(item.time_us), data=data)

    async def _send(self, message: str) -> None:
        await self._pulse.send(self._socket.send_text(message))

    async def _heartbeat(self) -> None:
        await self._socket.send_text('{"type":"heartbeat"}')

    async def _refuse(self, error: EmberboxError, code: int) -> None:
        """Say what is wrong and close."""
        try:
            await self._say(error)
            await self._socket.close(code)
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _say(self, error: EmberboxError) -> None:
        await self._send(_json(type="error", code=error.code, detail=error.message, retryable=error.retryable))

    # -- coming in -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if "run" not in self._key.scopes:
                raise NotAllowed("this key may only watch: sending needs the scope 'run'")
            await self._take(_parsed(message.get("bytes"), message.get("text")))

    async def _take(self, message: dict[str, Any]) -> None:
        """Do what a message asks for. What the job's state forbids is answered; the conversation goes on."""
        try:
            match message.get("type"):
                case "stdin":
                    await (await self._live()).write_stdin(_input(message))
                case "close_stdin":
                    await (await self._live()).close_stdin()
                case "signal":
                    await (await self._live()).signal(_signal(message.get("signal")))
                case "cancel":
                    await self._service.jobs.cancel(self._key, self._job.id)
                case other:
                    raise InvalidInput(
                        f"there is no message of type {str(other)[:64]!r}: send stdin, close_stdin, signal or cancel"
                    )
        except InvalidInput:
            raise
        except EmberboxError as error:
            await self._say(error)

    async def _live(self) -> LiveJob:
        """Return the running job; waits while it is queued. Raises `Conflict` when it has ended, or runs elsewhere."""
        while (live := self._service.live.get(self._job.id)) is None:
            live = await self._service.live.wait_for(self._job.id, _LOOK_S)
            if live is not None:
                return live
            job = await self._service.jobs.get(self._key, self._job.id)
            if job.terminal:
                raise Conflict("the job has ended")
            if job.status == "running" and self._service.live.get(job.id) is None:
                raise Conflict("the job runs in another process of this service; talk to that one")
        return live


def _parsed(data: bytes | None, text: str | None) -> dict[str, Any]:
    if data is not None:
        if len(data) > MESSAGE_BYTES:
            raise PayloadTooLarge(f"a message may have {MESSAGE_BYTES} bytes at most; send input in pieces")
        return {"type": "stdin", "raw": data}
    if text is None or len(text) > 2 * MESSAGE_BYTES:
        raise PayloadTooLarge(f"a message may have {2 * MESSAGE_BYTES} characters at most; send input in pieces")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("a text message must be JSON; send raw input in binary messages") from error
    if not isinstance(message, dict):
        raise InvalidInput("a text message must be a JSON object with a 'type'")
    return message


def _input(message: dict[str, Any]) -> bytes:
    if isinstance(raw := message.get("raw"), bytes):
        return raw
    if isinstance(text := message.get("data"), str):
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(message.get("base64"), validate=True)  # type: ignore[arg-type]  # what is no text is refused
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidInput("input is 'data' with text, or 'base64'") from error


def _signal(value: object) -> int:
    """Return a signal's number, given that or its name, with or without SIG."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return signal.Signals(value).value
        name = str(value).upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    except (ValueError, KeyError) as error:
        raise InvalidInput(f"there is no signal {str(value)[:32]!r}: give its number or a name such as SIGINT") from error


def _close_code(error: EmberboxError) -> int:
    if isinstance(error, PayloadTooLarge):
        return TOO_BIG
    if isinstance(error, InvalidInput):
        return UNSUITED
    if error.status in (401, 403, 404):
        return NOT_PERMITTED
    return AGAIN if error.retryable else FAILED


def _json(**values: object) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
