"""The logs of jobs: as entries, as text, and live."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from emberbox.api import sse
from emberbox.api.auth import Reader, ServiceDep
from emberbox.api.logtext import LogText, log_text
from emberbox.api.requests import JobId, job_of
from emberbox.api.streams import StreamAnswer, followers_of
from emberbox.api.views import answer, log_view
from emberbox.errors import InvalidInput
from emberbox.jobs.service import Service
from emberbox.schemas.jobs import LogPage
from emberbox.store.records import JobRecord

router = APIRouter(tags=["logs"])

_PAGE_BYTES = 262_144
_PAGE_MOST = 4 * 1024 * 1024
_TEXT = "text/plain"


class LogFormat(StrEnum):
    """How a log is told."""

    JSON = "json"
    TEXT = "text"


class LogStream(StrEnum):
    """One of a program's two outputs."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Encoding(StrEnum):
    """How output is put into text."""

    TEXT = "text"
    BASE64 = "base64"


LogId = Annotated[str | None, Query(pattern=r"^[1-9][0-9]{0,8}\.(0|[1-9][0-9]{0,14})$", description="Begin behind this entry.")]
_EVENT = {
    "type": "object",
    "description": "One event.",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["output", "attempt", "end", "error"]},
        "data": {"type": "string"},
    },
    "required": ["event", "data"],
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": LogPage,
        "content": {
            _TEXT: {"schema": {"type": "string"}},
            sse.MEDIA_TYPE: {"schema": _EVENT},
        },
    },
    204: {"description": "The job has ended and `Last-Event-ID` is the last event's: there is no more."},
}


@router.get("/v1/jobs/{job_id}/logs", response_model=LogPage, responses=_ANSWERS, summary="Read or follow a log")
async def get_logs(
    job_id: JobId,
    request: Request,
    service: ServiceDep,
    key: Reader,
    format: Annotated[LogFormat | None, Query(description="Else by the Accept header.")] = None,
    follow: Annotated[bool, Query(description="Go on until the job has ended, as Server-Sent Events unless it is text.")] = False,
    stream: Annotated[LogStream | None, Query(description="Else both, in the order in which the output arrived.")] = None,
    after: LogId = None,
    limit: Annotated[int | None, Query(ge=1, le=1 << 40, description="Bytes of output at most.")] = None,
    offset: Annotated[int, Query(ge=0, le=1 << 40, description="Text only: bytes to pass over.")] = 0,
    tail: Annotated[int | None, Query(ge=0, le=1 << 31, description="Text only: the last so many lines.")] = None,
    encoding: Annotated[Encoding, Query(description="`base64` keeps what is not UTF-8.")] = Encoding.TEXT,
    timestamps: Annotated[bool, Query(description="Text only: put the time before each line.")] = False,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="As `after`, and wins over it.")] = None,
) -> Response:
    """Read a job's log.

    Followed, each event has an id: `output` (`{stream, time, data}`), `attempt` (the job is tried again and its log begins
    anew) and last `end` (the job). Whoever comes back with `Last-Event-ID` misses nothing and gets nothing twice.
    """
    job = await job_of(service, key, job_id)
    start = last_event_id or after
    accept = request.headers.get("accept", "")
    chosen = format or (LogFormat.TEXT if accept.startswith(_TEXT) else LogFormat.JSON)
    if chosen is LogFormat.TEXT:
        wanted = LogText(
            stream=stream,
            after=start,
            offset=offset,
            limit=limit,
            tail=tail,
            timestamps=timestamps,
            follow=follow,
            encoding=encoding,
        )
        return await _text(request, service, job, wanted)
    if follow or (format is None and sse.MEDIA_TYPE in accept):
        return await _events(request, service, job, stream, start, encoding)
    page = await service.logs.read(job, after=start, limit_bytes=min(limit or _PAGE_BYTES, _PAGE_MOST), stream=stream)
    return answer(log_view(*page, encoding))


async def _events(
    request: Request, service: Service, job: JobRecord, stream: str | None, start: str | None, encoding: str
) -> Response:
    if start == sse.END:
        if job.terminal:
            return Response(status_code=204)
        raise InvalidInput(f"the job has not ended: {sse.END!r} is no id of an event of it")
    if start is not None:
        await service.logs.read(job, after=start, limit_bytes=1)  # refuses an id that never was, while that can still be said
    items = service.logs.follow(job.id, after=start, stream=stream)
    return StreamAnswer(
        sse.events(service, items, encoding),
        media_type=sse.MEDIA_TYPE,
        followers=followers_of(request.app, service.settings.server.followers),
        heartbeat=sse.HEARTBEAT,
    )


async def _text(request: Request, service: Service, job: JobRecord, wanted: LogText) -> Response:
    if wanted.after is not None:
        await service.logs.read(job, after=wanted.after, limit_bytes=1)
    followers = followers_of(request.app, service.settings.server.followers) if wanted.follow else None
    return StreamAnswer(log_text(service, job, wanted), media_type=_TEXT, followers=followers)
