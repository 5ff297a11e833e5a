"""The API as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from emberbox.api import problems
from emberbox.api.auth import Authentication
from emberbox.api.middleware import Bounds, Frame
from emberbox.api.openapi import TAGS, serve_document
from emberbox.api.routes import (
    articles,
    artifacts,
    jobs,
    keys,
    logs,
    pools,
    runtimes,
    scripts,
    stream,
    system,
    usage,
    webhooks,
)
from emberbox.model import MIB

if TYPE_CHECKING:
    from emberbox.config import ServerSettings
    from emberbox.jobs.service import Service

ROUTERS = (
    scripts.router,
    jobs.router,
    logs.router,
    artifacts.router,
    stream.router,
    runtimes.router,
    keys.router,
    webhooks.router,
    usage.router,
    pools.router,
    system.router,
    articles.router,
)
"""Of all modules of `emberbox.api.routes`, in the order of the API's description."""

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
    app = FastAPI(
        title="Emberbox",
        summary="Runs untrusted programs, each in a microVM of its own.",
        version="1.0.0",
        openapi_url=None,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in ROUTERS:
        # Not `include_router`: each of those would be searched twice, once to find it and once to serve.
        app.router.routes.extend(router.routes)
    serve_document(app)
    problems.register(app)
    _wrap(app, service)
    return app


def _wrap(app: FastAPI, service: Service) -> None:
    """Add the layers; the last one is the outermost."""
    settings = service.settings.server
    app.add_middleware(Bounds, body_bytes=settings.body_bytes, upload_bytes=upload_body_bytes(settings), uploads=UPLOADS)
    app.add_middleware(Authentication, service=service)
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
        )
    app.add_middleware(Frame, service=service)


def upload_body_bytes(settings: ServerSettings) -> int:
    """Return the largest body of an upload: its files, and what multipart puts around each."""
    return settings.upload_bytes + settings.upload_files * 512 + MIB
