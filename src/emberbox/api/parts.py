"""The parts of the service that routes draw on, each as a dependency of FastAPI.

For example, `async def get_usage(key: Reader, usage: UsagePart)` is called with the service's
`Usage`. A route names its key before its parts: who may not call it is refused first.

No other module but `emberbox.api.app` knows where the application keeps them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from emberbox.api.full_jobs import FullJobs
from emberbox.api.streaming.followers import Followers
from emberbox.api.uploads import Uploads
from emberbox.api.waiting import Waiting
from emberbox.config import ServerSettings
from emberbox.sandbox import Engine
from emberbox.sandbox.machines.book import MachineBook
from emberbox.service.accounts.keys import Keys
from emberbox.service.accounts.usage import Usage
from emberbox.service.jobs.jobs import Jobs
from emberbox.service.jobs.logs.reading import Logs
from emberbox.service.jobs.running.artifacts import Artifacts
from emberbox.service.jobs.running.live import LiveJobs
from emberbox.service.jobs.submitting.orders import Orders
from emberbox.service.jobs.submitting.submission import Submission
from emberbox.service.service import Service
from emberbox.service.status.node import NodeStatus
from emberbox.service.status.telemetry import Telemetry
from emberbox.service.uploads.contents import Contents
from emberbox.service.uploads.scripts import Scripts
from emberbox.service.webhooks.registry import Webhooks


@dataclass(frozen=True, slots=True)
class Parts:
    """Behind all routes of one application; kept in its state as `parts`.

    Args:
        service: Started and ended by others.
        followers: The places for streams that follow a job.
    """

    service: Service
    followers: Followers


def _parts_of(connection: HTTPConnection) -> Parts:
    parts: Parts = connection.app.state.parts
    return parts


def _part(read: Callable[[Parts], object]) -> Any:
    """Return the dependency that yields what `read` takes of the application's parts."""

    async def part(connection: HTTPConnection) -> object:
        return read(_parts_of(connection))

    return Depends(part)


def _of_service(read: Callable[[Service], object]) -> Any:
    return _part(lambda parts: read(parts.service))


ArtifactsPart = Annotated[Artifacts, _of_service(lambda service: service.artifacts)]
ContentsPart = Annotated[Contents, _of_service(lambda service: service.contents)]
EnginePart = Annotated[Engine, _of_service(lambda service: service.engine)]
FollowersPart = Annotated[Followers, _part(lambda parts: parts.followers)]
JobsPart = Annotated[Jobs, _of_service(lambda service: service.jobs)]
KeysPart = Annotated[Keys, _of_service(lambda service: service.keys)]
LiveJobsPart = Annotated[LiveJobs, _of_service(lambda service: service.live)]
LogsPart = Annotated[Logs, _of_service(lambda service: service.logs)]
MachinesPart = Annotated[MachineBook, _of_service(lambda service: service.engine.book)]
NodePart = Annotated[NodeStatus, _of_service(lambda service: service.node)]
OrdersPart = Annotated[Orders, _of_service(lambda service: service.orders)]
ScriptsPart = Annotated[Scripts, _of_service(lambda service: service.scripts)]
ServerPart = Annotated[ServerSettings, _of_service(lambda service: service.settings.server)]
SubmissionPart = Annotated[Submission, _of_service(lambda service: service.submission)]
TelemetryPart = Annotated[Telemetry, _of_service(lambda service: service.telemetry)]
UsagePart = Annotated[Usage, _of_service(lambda service: service.usage)]
WebhooksPart = Annotated[Webhooks, _of_service(lambda service: service.webhooks)]

ReadyCheck = Annotated[Callable[[], None], _of_service(lambda service: service.check_ready)]
"""Raises what speaks against taking new work."""
FullJobsPart = Annotated[FullJobs, _of_service(lambda service: FullJobs(service.jobs, service.artifacts))]
UploadsPart = Annotated[
    Uploads,
    _of_service(lambda service: Uploads(service.scripts, service.settings, ready=service.check_ready)),
]


async def _waiting(request: Request) -> Waiting:
    service = _parts_of(request).service
    return Waiting(request.receive, service.waits, longest_s=service.settings.server.wait_s)


WaitingPart = Annotated[Waiting, Depends(_waiting)]
"""Waits on behalf of the caller of this request."""
