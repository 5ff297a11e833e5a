"""The WebSocket of a running job: output comes out, input goes in."""

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket

from emberbox.api.auth import ServiceDep
from emberbox.api.conversation import Conversation, admitted
from emberbox.api.routes.logs import Encoding

router = APIRouter()


@router.websocket("/v1/jobs/{job_id}/stream")
async def stream_job(
    socket: WebSocket,
    job_id: str,
    service: ServiceDep,
    after: Annotated[str | None, Query()] = None,
    encoding: Annotated[Encoding, Query()] = Encoding.TEXT,
) -> None:
    """Send output as it comes, and take input, signals and a cancellation."""
    async with admitted(socket, service, job_id, after) as entry:
        if entry is not None:
            await Conversation(socket, service, entry, after=after, encoding=encoding).run()
