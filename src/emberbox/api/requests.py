"""What several routes read of a request in the same way."""

import asyncio
import hashlib
import json
from typing import Annotated, Any

from fastapi import Header, Path, Query, Request
from pydantic import BaseModel

from emberbox.api.streams import gone
from emberbox.errors import NotFound
from emberbox.ids import is_id
from emberbox.jobs.service import Service
from emberbox.store.records import JobRecord, KeyRecord

JobId = Annotated[str, Path(description="The job's id.", examples=["job_01jxq4cw3m8x3c7dyzv5m4k9rt"])]
ScriptId = Annotated[str, Path(description="The script's id.", examples=["scr_01jxq4cw3m8x3c7dyzv5m4k9rt"])]


def cursor_of(prefix: str) -> Any:
    """Return the description of a list's `cursor`.

    Args:
        prefix: Of the identifiers of what is listed.
    """
    return Query(description="`next_cursor` of the page before.", pattern=rf"^{prefix}_[0-9a-hjkmnp-tv-z]{{26}}$")


Wait = Annotated[
    float | None,
    Query(
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds to wait for the job's end before the answer; cut to what the server allows.",
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="A name of your choice for this request: when it is repeated, it starts no second job.",
    ),
]


def request_hash(route: str, body: BaseModel) -> str:
    """Return what identifies a request: the route and all that was asked for, in whatever order it was written."""
    values = {"route": route, "body": body.model_dump(mode="json", exclude_defaults=True)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


async def job_of(service: Service, key: KeyRecord, job_id: str) -> JobRecord:
    """Return a job of this key.

    Raises:
        NotFound: There is none, or it is another key's.
    """
    if not is_id(job_id, "job"):
        raise NotFound("there is no such job")
    return await service.jobs.get(key, job_id)


def script_id_of(text: str) -> str:
    """Return what may be a script's id. Raises `NotFound` for what cannot."""
    if not is_id(text, "scr"):
        raise NotFound("there is no such script")
    return text


async def waited(request: Request, service: Service, job: JobRecord, wait_s: float | None) -> JobRecord:
    """Return the job as it is at its end, or after `wait_s`, cut to what the settings allow.

    A client that goes away is not waited for; its job goes on.
    """
    if not wait_s or job.terminal:
        return job
    waiting = asyncio.ensure_future(service.jobs.wait(job.id, min(wait_s, service.settings.server.wait_s)))
    leaving = asyncio.ensure_future(gone(request.receive))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else job
    finally:
        waiting.cancel()
        leaving.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)
