"""The WebSocket of a running job: output comes out, input goes in."""

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket

from emberbox.api.auth import Reader
from emberbox.api.parts import FollowersPart, FullJobsPart, JobsPart, LiveJobsPart, LogsPart, ServerPart
from emberbox.api.requests import Encoding, job_of
from emberbox.api.streaming.conversation import Conversation
from emberbox.api.streaming.incoming import Inbox
from emberbox.errors import NotAllowed

router = APIRouter()

PROTOCOL = "emberbox"


@router.websocket("/v1/jobs/{job_id}/stream")
async def stream_job(
    socket: WebSocket,
    job_id: str,
    key: Reader,
    jobs: JobsPart,
    live: LiveJobsPart,
    full_jobs: FullJobsPart,
    server: ServerPart,
    logs: LogsPart,
    followers: FollowersPart,
    after: Annotated[str | None, Query()] = None,
    encoding: Annotated[Encoding, Query()] = Encoding.TEXT,
) -> None:
    """Send output as it comes, and take input, signals and a cancellation.

    The messages are described in `emberbox.api.streaming.conversation`. What speaks against it is
    said before the connection is opened, as the answer to an ordinary request.
    """
    _check_origin(socket, server.cors_origins)
    job = await job_of(jobs, key, job_id)
    if after is not None:
        await logs.check(job, after)
    with followers.one():
        await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
        items = logs.follow(job.id, after=after)
        inbox = Inbox(jobs, live, key, job)
        await Conversation(socket, items, inbox, full_jobs, encoding).run()


def _check_origin(socket: WebSocket, allowed: str) -> None:
    """Refuse pages of other sites, from which browsers would let a WebSocket through. Raises `NotAllowed`."""
    origin = socket.headers.get("origin")
    if origin is None or origin in [one.strip().rstrip("/") for one in allowed.split(",") if one.strip()]:
        return
    if origin.partition("://")[2] != socket.headers.get("host"):
        raise NotAllowed(
            f"pages of {origin[:200]!r} may not call this service; server.cors_origins names those that may"
        )
