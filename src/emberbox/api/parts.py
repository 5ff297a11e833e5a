"""The parts of the service that routes draw on, each as a dependency of FastAPI.

For example, `async def get_usage(key: Reader, usage: UsagePart)` is called with the service's
`Usage`. A route names its key before its parts: who may not call it is refused first.

No other module but `emberbox.api.app` knows where the application keeps them.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from emberbox.api.full_jobs import FullJobs
from emberbox.api.streaming.followers import Followers
from emberbox.api.streaming.waiters import Waiters
from emberbox.api.uploads import Uploads
from emberbox.config import ServerSettings
from emberbox.sandbox import Engine
from emberbox.sandbox.machines.book import MachineBook
from emberbox.service.accounts.keys import Keys
from emberbox.service.accounts.teams import Teams
from emberbox.service.accounts.usage import Usage
from emberbox.service.jobs.jobs import Jobs
from emberbox.service.jobs.logs.reading import Logs
from emberbox.service.jobs.revoking import Revocations
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


def _part(read: Callable[[Service], object]) -> Any:
    """Return the dependency that yields what `read` takes of the service."""

    async def part(connection: HTTPConnection) -> object:
        return read(connection.app.state.service)

    return Depends(part)


async def _followers(connection: HTTPConnection) -> Followers:
    followers: Followers = connection.app.state.followers
    return followers


async def _waiters(connection: HTTPConnection) -> Waiters:
    waiters: Waiters = connection.app.state.waiters
    return waiters


ArtifactsPart = Annotated[Artifacts, _part(lambda service: service.artifacts)]
ContentsPart = Annotated[Contents, _part(lambda service: service.contents)]
EnginePart = Annotated[Engine, _part(lambda service: service.engine)]
FollowersPart = Annotated[Followers, Depends(_followers)]
FullJobsPart = Annotated[FullJobs, _part(lambda service: FullJobs(service.jobs, service.artifacts))]
JobsPart = Annotated[Jobs, _part(lambda service: service.jobs)]
KeysPart = Annotated[Keys, _part(lambda service: service.keys)]
LiveJobsPart = Annotated[LiveJobs, _part(lambda service: service.live)]
LogsPart = Annotated[Logs, _part(lambda service: service.logs)]
MachinesPart = Annotated[MachineBook, _part(lambda service: service.engine.book)]
NodePart = Annotated[NodeStatus, _part(lambda service: service.node)]
OrdersPart = Annotated[Orders, _part(lambda service: service.orders)]
ReadyCheck = Annotated[Callable[[], None], _part(lambda service: service.check_ready)]
"""Raises what speaks against taking new work."""
RevocationsPart = Annotated[Revocations, _part(lambda service: service.revocations)]
ScriptsPart = Annotated[Scripts, _part(lambda service: service.scripts)]
ServerPart = Annotated[ServerSettings, _part(lambda service: service.settings.server)]
SubmissionPart = Annotated[Submission, _part(lambda service: service.submission)]
TeamsPart = Annotated[Teams, _part(lambda service: service.teams)]
TelemetryPart = Annotated[Telemetry, _part(lambda service: service.telemetry)]
UploadsPart = Annotated[
    Uploads,
    _part(lambda service: Uploads(service.scripts, service.settings, service.check_ready, service.heavy)),
]
UsagePart = Annotated[Usage, _part(lambda service: service.usage)]
WaitersPart = Annotated[Waiters, Depends(_waiters)]
WebhooksPart = Annotated[Webhooks, _part(lambda service: service.webhooks)]
