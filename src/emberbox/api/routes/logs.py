"""The logs of jobs: as entries, as text, and live."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from emberbox.api.auth import Reader
from emberbox.api.parts import FollowersPart, FullJobsPart, JobsPart, LogsPart
from emberbox.api.requests import TEXT, Encoding, JobId, Responses, job_of
from emberbox.api.streaming import sse
from emberbox.api.streaming.answers import StreamAnswer
from emberbox.api.streaming.logtext import LogText, log_text
from emberbox.api.views import answer, log_view
from emberbox.errors import InvalidInput
from emberbox.schemas.jobs import LogPage

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


LogId = Annotated[
    str | None,
    Query(pattern=r"^[1-9][0-9]{0,8}\.(0|[1-9][0-9]{0,14})$", description="Begin behind this entry."),
]
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
_ANSWERS: Responses = {
    200: {
        "model": LogPage,
        "content": {
            _TEXT: TEXT,
            sse.MEDIA_TYPE: {"schema": _EVENT},
        },
    },
    204: {"description": "The job has ended and `Last-Event-ID` is the last event's: there is no more."},
}


@router.get(
    "/v1/jobs/{job_id}/logs", response_model=LogPage, responses=_ANSWERS, summary="Read or follow a log"
)
async def get_logs(
    job_id: JobId,
    request: Request,
    key: Reader,
    jobs: JobsPart,
    full_jobs: FullJobsPart,
    logs: LogsPart,
    followers: FollowersPart,
    format: Annotated[LogFormat | None, Query(description="Else by the Accept header.")] = None,
    follow: Annotated[
        bool, Query(description="Go on until the job has ended, as Server-Sent Events unless it is text.")
    ] = False,
    stream: Annotated[
        LogStream | None, Query(description="Else both, in the order in which the output arrived.")
    ] = None,
    after: LogId = None,
    limit: Annotated[int | None, Query(ge=1, le=1 << 40, description="Bytes of output at most.")] = None,
    offset: Annotated[int, Query(ge=0, le=1 << 40, description="Text only: bytes to pass over.")] = 0,
    tail: Annotated[
        int | None, Query(ge=0, le=1 << 31, description="Text only: the last so many lines.")
    ] = None,
    encoding: Annotated[Encoding, Query(description="`base64` keeps what is not UTF-8.")] = Encoding.TEXT,
    timestamps: Annotated[bool, Query(description="Text only: put the time before each line.")] = False,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="As `after`, and wins over it.")
    ] = None,
) -> Response:
    """Read a job's log.

    Each event of a followed log has an id: `output` (`{stream, time, data}`), `attempt` (the job is
    tried again and its log begins anew) and last `end` (the job). A client that comes back with
    `Last-Event-ID` misses nothing and gets nothing twice.
    """
    job = await job_of(jobs, key, job_id)
    start = last_event_id or after
    kind = _kind(format, request.headers.get("accept", ""), follow=follow)
    if kind == sse.MEDIA_TYPE and start == sse.END:
        return _after_the_end(terminal=job.terminal)
    if start is not None:
        # Refuses an id that never was, while that can still be said.
        await logs.check(job, start)
    if kind is None:
        most = min(limit or _PAGE_BYTES, _PAGE_MOST)
        return answer(log_view(*await logs.read(job, after=start, limit_bytes=most, stream=stream), encoding))
    if kind == sse.MEDIA_TYPE:
        events = sse.events(full_jobs, logs.follow(job.id, after=start, stream=stream), encoding)
        return StreamAnswer(events, media_type=kind, followers=followers, heartbeat=sse.HEARTBEAT)
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
    text = log_text(logs, job, wanted)
    return StreamAnswer(text, media_type=kind, followers=followers if follow else None)


def _kind(format: LogFormat | None, accept: str, *, follow: bool) -> str | None:
    """Return the media type of an answer that goes on; None where it is a page of entries."""
    if format is LogFormat.TEXT or (format is None and accept.startswith(_TEXT)):
        return _TEXT
    return sse.MEDIA_TYPE if follow or (format is None and sse.MEDIA_TYPE in accept) else None


def _after_the_end(*, terminal: bool) -> Response:
    """Answer who comes back with the last event's id. Raises `InvalidInput` where there was none yet."""
    if terminal:
        return Response(status_code=204)
    raise InvalidInput(f"the job has not ended: {sse.END!r} is no id of an event of it")
