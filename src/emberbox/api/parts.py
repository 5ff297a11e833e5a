"""What routes draw on, each as a dependency of FastAPI.

For example, `async def get_usage(key: Reader, service: ServicePart)` is called with the service. A
route names its key before its parts: who may not call it is refused first.

No other module but `emberbox.api.app` knows where the application keeps them.
"""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from emberbox.api.streaming.followers import Followers
from emberbox.service.service import Service


async def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


async def _followers(connection: HTTPConnection) -> Followers:
    followers: Followers = connection.app.state.followers
    return followers


ServicePart = Annotated[Service, Depends(_service)]
"""All that is behind the API; started and ended by others."""
FollowersPart = Annotated[Followers, Depends(_followers)]
"""The places for streams that follow a job."""
