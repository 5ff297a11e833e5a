"""The API as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from emberbox.api import compat
from emberbox.api.auth import Authentication
from emberbox.api.bodies import OpenBodies
from emberbox.api.bounds import Bounds
from emberbox.api.handlers import HANDLERS
from emberbox.api.openapi import TAGS, serve_document
from emberbox.api.outermost import OutermostLayer
from emberbox.api.routes import (
    artifacts,
    jobs,
    keys,
    logs,
    machines,
    pools,
    runtimes,
    scripts,
    stream,
    system,
    teams,
    usage,
    webhooks,
)
from emberbox.api.streaming.followers import Followers
from emberbox.api.streaming.waiters import Waiters
from emberbox.model import MIB

if TYPE_CHECKING:
    from emberbox.config import ServerSettings
    from emberbox.service.service import Service

ROUTERS = (
    scripts.router,
    jobs.router,
    logs.router,
    artifacts.router,
    stream.router,
    runtimes.router,
    teams.router,
    keys.router,
    webhooks.router,
    usage.router,
    pools.router,
    machines.router,
    system.router,
    *compat.ROUTERS,
)
"""Of all modules of `emberbox.api.routes` and `emberbox.api.compat`, as the description orders them."""

UPLOADS = frozenset({"/v1/scripts", "/scripts"})
"""Paths that take uploads, whose bound is another than that of other bodies."""

_ALLOWED = ["Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id"]
_EXPOSED = [
    *("Location", "Content-Disposition", "Idempotency-Replayed"),
    *("X-Request-Id", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"),
]


def create_app(service: Service) -> FastAPI:
    """Return the API of a service.

    Args:
        service: Started and ended by the caller; the application does neither.
    """
    app = bare_app()
    app.state.service = service
    app.state.followers = Followers(service.settings, leaving=service.live.closing)
    app.state.waiters = Waiters(service.settings, service.waits)
    _wrap(app, service)
    return app


def bare_app() -> FastAPI:
    """Return the API's addresses without a service behind them, which is enough to describe them."""
    app = FastAPI(
        title="Emberbox",
        summary="Runs untrusted programs, each in a microVM of its own.",
        version="1.0.0",
        openapi_url=None,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )
    for router in ROUTERS:
        # Not `include_router`: each of those would be searched twice, once to find it and once to serve.
        app.router.routes.extend(router.routes)
    serve_document(app)
    return app


def _wrap(app: FastAPI, service: Service) -> None:
    """Add the layers; the last one is the outermost."""
    settings = service.settings.server
    app.add_middleware(
        Bounds,
        body_bytes=settings.body_bytes,
        upload_bytes=upload_body_bytes(settings),
        uploads=UPLOADS,
        bodies=OpenBodies(service.settings),
    )
    app.add_middleware(
        Authentication, keys=service.keys, quota=service.settings.quota, ceiling=service.settings.ceiling
    )
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
        )
    app.add_middleware(OutermostLayer, telemetry=service.telemetry)


def upload_body_bytes(settings: ServerSettings) -> int:
    """Return the largest body of an upload: its files, and what multipart puts around each."""
    return settings.upload_bytes + settings.upload_files * 512 + MIB
