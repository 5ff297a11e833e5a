"""Messages that come in by the WebSocket of a job, and how they are obeyed."""

from __future__ import annotations

import base64
import binascii
import json
import signal
from typing import TYPE_CHECKING, Any

from emberbox.errors import Conflict, InvalidInput, NotAllowed, PayloadTooLarge
from emberbox.service.ownership import check_own

if TYPE_CHECKING:
    from emberbox.service.jobs.jobs import Jobs
    from emberbox.service.jobs.running.live import LiveJob, LiveJobs
    from emberbox.store.records import JobRecord, KeyRecord

MESSAGE_BYTES = 1 << 20
"""The largest message that is taken."""
_LOOK_S = 5.0


class Inbox:
    """Does to one job what its messages ask for.

    Args:
        jobs: Tells how the job stands, and cancels it.
        live: Has the job where it runs in this process.
        key: The caller's; it reaches the job.
        job: As it was at the beginning.
    """

    def __init__(self, jobs: Jobs, live: LiveJobs, key: KeyRecord, job: JobRecord) -> None:
        self._jobs = jobs
        self._live = live
        self._key = key
        self._job = job

    def read(self, data: bytes | None, text: str | None) -> dict[str, Any]:
        """Return what a message says.

        Args:
            data: A binary message, which is input as it is.
            text: Else a text message.

        Raises:
            NotAllowed: The key may only watch.
            PayloadTooLarge: The message is above its bound.
            InvalidInput: The text is no JSON object.
        """
        if "run" not in self._key.scopes:
            raise NotAllowed("this key may only watch: sending needs the scope 'run'")
        if data is None:
            return _parsed(text)
        if len(data) > MESSAGE_BYTES:
            raise PayloadTooLarge(f"a message may have {MESSAGE_BYTES} bytes at most; send input in pieces")
        return {"type": "stdin", "raw": data}

    async def obey(self, message: dict[str, Any]) -> None:
        """Do what a message asks for.

        Raises:
            InvalidInput: The message means nothing.
            EmberboxError: The job's state forbids it.
        """
        match message.get("type"):
            case "stdin":
                await (await self._running()).write_stdin(_input(message))
            case "close_stdin":
                await (await self._running()).close_stdin()
            case "signal":
                await (await self._running()).signal(_signal(message.get("signal")))
            case "cancel":
                await self._jobs.cancel(self._key, self._job.id)
            case other:
                raise InvalidInput(
                    f"there is no message of type {str(other)[:64]!r}:"
                    " send stdin, close_stdin, signal or cancel"
                )

    async def _running(self) -> LiveJob:
        """Return the running job; waits while it is queued.

        Raises `Conflict` when it has ended, or runs elsewhere, and `NotAllowed` when it is another
        team's.
        """
        check_own(self._key, self._job)
        while (live := self._live.get(self._job.id)) is None:
            live = await self._live.wait_for(self._job.id, _LOOK_S)
            if live is not None:
                return live
            job = await self._jobs.get(self._key, self._job.id)
            if job.terminal:
                raise Conflict("the job has ended")
            if job.status == "running" and self._live.get(job.id) is None:
                raise Conflict("the job runs in another process of this service; talk to that one")
        return live


def _parsed(text: str | None) -> dict[str, Any]:
    if text is None or len(text) > 2 * MESSAGE_BYTES:
        raise PayloadTooLarge(
            f"a message may have {2 * MESSAGE_BYTES} characters at most; send input in pieces"
        )
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
        raise InvalidInput(
            f"there is no signal {str(value)[:32]!r}: give its number or a name such as SIGINT"
        ) from error
