"""The API's description of itself, OpenAPI 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from emberbox.api.auth import Needs
from emberbox.api.problems import MEDIA_TYPE
from emberbox.schemas.base import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

TAGS = [
    {"name": "scripts", "description": "Code that was uploaded, to be run any number of times."},
    {"name": "jobs", "description": "Runs of scripts or of inline code, their results and their logs."},
    {"name": "runtimes", "description": "The languages that can be run."},
    {"name": "keys", "description": "API keys, and what each may do."},
    {"name": "webhooks", "description": "News of jobs, delivered by HTTP."},
    {"name": "usage", "description": "What each key used, by day."},
    {"name": "system", "description": "The service itself: health, metrics, pools."},
    {"name": "articles", "description": "The calls of the two articles that this project grew from."},
]


def document(app: FastAPI) -> dict[str, Any]:
    """Return the description of `app`; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=_DESCRIPTION,
            routes=app.routes,
            tags=app.openapi_tags,
            openapi_version="3.1.0",
        )
        _complete(made, [route for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema])
        app.openapi_schema = made
    return app.openapi_schema


_DESCRIPTION = "TODO"


def _complete(made: dict[str, Any], routes: list[APIRoute]) -> None:
    pass
