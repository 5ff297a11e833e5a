"""Parameters that several routes take, and how they are read."""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import BaseModel

from emberbox.errors import NotFound
from emberbox.ids import id_pattern, is_id
from emberbox.service.jobs.jobs import Jobs
from emberbox.service.ownership import EVERY_TEAM
from emberbox.store.records import JobRecord, KeyRecord


def identifier(thing: str, prefix: str) -> Any:
    """Return the description of an identifier in an address; `prefix` is what such ones begin with."""
    return Path(description=f"The {thing}'s id.", examples=[f"{prefix}_01jxq4cw3m8x3c7dyzv5m4k9rt"])


JobId = Annotated[str, identifier("job", "job")]
ScriptId = Annotated[str, identifier("script", "scr")]
Limit = Annotated[int, Query(ge=1, le=200)]
RuntimeFilter = Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")]
LabelFilter = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,62}:[^\x00]{0,200}$",
        description="`name:value`",
        examples=["team:data"],
    ),
]
TeamFilter = Annotated[
    str | None,
    Query(
        pattern=f"^({EVERY_TEAM}|{id_pattern('team')})$",
        description="Another team's, or `all` teams'; needs the scope `operator`. "
        "The key's own team's if not given.",
    ),
]
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

Responses = dict[int | str, dict[str, Any]]
"""What is told of a route's answers, by status."""
TEXT: dict[str, Any] = {"schema": {"type": "string"}}
BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


class Encoding(StrEnum):
    """How output is put into text."""

    TEXT = "text"
    BASE64 = "base64"


def location(text: str) -> dict[str, Any]:
    """Return what is told of the header `Location`."""
    return {"Location": {"description": text, **TEXT}}


def cursor_of(prefix: str) -> Any:
    """Return the description of a list's `cursor`.

    Args:
        prefix: Of the identifiers of what is listed.
    """
    return Query(description="`next_cursor` of the page before.", pattern=f"^{id_pattern(prefix)}$")


def label_of(text: str | None) -> tuple[str, str] | None:
    """Return name and value of a `LabelFilter`; None where none was given."""
    if not text:
        return None
    name, _, value = text.partition(":")
    return name, value


def idempotency(key: str | None, route: str, body: BaseModel) -> tuple[str, str] | None:
    """Return the caller's Idempotency-Key, and a hash of what is asked for under it.

    Args:
        key: None where the caller gave none, which returns None.
        route: Of the request.
        body: Of the request; in whatever order it was written, its hash is the same. Of secrets, names
            alone count: a hash of a weak secret, which lies in the database, would tell it.
    """
    if key is None:
        return None
    named = body.model_dump(mode="json", exclude_defaults=True)
    if "secret_env" in named:
        named["secret_env"] = sorted(named["secret_env"])
    if "webhook" in named:
        named["webhook"].pop("secret", None)
    values = {"route": route, "body": named}
    return key, hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


async def job_of(jobs: Jobs, key: KeyRecord, job_id: str) -> JobRecord:
    """Return a job that this key reaches.

    Raises:
        NotFound: There is none, or the key does not reach it.
    """
    if not is_id(job_id, "job"):
        raise NotFound("there is no such job")
    return await jobs.get(key, job_id)


def script_id_of(text: str) -> str:
    """Return what may be a script's id. Raises `NotFound` for what cannot."""
    if not is_id(text, "scr"):
        raise NotFound("there is no such script")
    return text
