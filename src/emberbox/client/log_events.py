"""What following a job tells, besides its output."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.client.problems import error_of
from emberbox.schemas.jobs import Job, LogEntry

if TYPE_CHECKING:
    from emberbox.client.events import Event


@dataclass(frozen=True, slots=True)
class AttemptBegan:
    """A new attempt of the job begins; its output starts anew."""

    attempt: int


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Something is made ready ahead of the program, such as a template, which takes a while."""

    message: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job has ended, and all its output has come."""

    job: Job


JobEvent = LogEntry | AttemptBegan | JobProgress | JobEnded
"""What following a job tells."""


def read_event(event: Event) -> JobEvent | None:
    """Return what an event tells; None for a kind that a later server may send.

    Raises `ValueError` for what is none.
    """
    if event.kind == "end":
        return JobEnded(Job.model_validate_json(event.data))
    if event.kind == "attempt":
        return AttemptBegan(int(json.loads(event.data)["attempt"]))
    if event.kind == "progress":
        return JobProgress(str(json.loads(event.data)["message"]))
    if event.kind != "output":
        return None
    told = json.loads(event.data)
    return LogEntry.model_validate({"id": event.id, **told})


def read_message(message: str | bytes) -> JobEvent | None:
    """Return what a message of a job's WebSocket tells; None for a kind that tells nothing.

    Raises:
        EmberboxError: The message is the server's refusal.
        ValueError, KeyError, TypeError: It is none of ours.
    """
    told = json.loads(message)
    match told["type"]:
        case "output":
            return LogEntry.model_validate(told)
        case "attempt":
            return AttemptBegan(int(told["attempt"]))
        case "progress":
            return JobProgress(str(told["message"]))
        case "end":
            return JobEnded(Job.model_validate(told["job"]))
        case "error":
            raise error_of(400, {}, json.dumps(told).encode())
    return None


def entry_bytes(entry: LogEntry, *, binary: bool) -> bytes:
    """Return an entry's bytes; `binary` says that its data is base 64."""
    return base64.b64decode(entry.data) if binary else entry.data.encode("utf-8", "replace")
