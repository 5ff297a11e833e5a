"""All addresses of the API, for tests that must hold for each of them, those that are added later as well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute, APIWebSocketRoute

from emberbox.api.openapi import scopes_of
from emberbox.ids import new_id

if TYPE_CHECKING:
    from fastapi import FastAPI

PUBLIC = {"/healthz", "/readyz", "/openapi.json"}
"""What anybody may ask. Whoever adds to it should know why."""
PREFIXES = {
    "job_id": "job",
    "script_id": "scr",
    "artifact_id": "art",
    "key_id": "key",
    "team_id": "team",
    "webhook_id": "whk",
    "delivery_id": "dlv",
}


@dataclass(frozen=True)
class Address:
    """One method at one path; `scopes` are what its key needs, none where no key is asked for."""

    method: str
    template: str
    scopes: tuple[str, ...]

    def path(self, **values: str) -> str:
        """The path with identifiers put in: those given, else such as could be."""
        return re.sub(
            r"{(\w+)}",
            lambda found: values.get(found[1]) or new_id(PREFIXES.get(found[1], "any")),
            self.template,
        )


def addresses(app: FastAPI) -> list[Address]:
    """Return all addresses; those of WebSockets have the method WEBSOCKET."""
    found: list[Address] = []
    for route in app.routes:
        if isinstance(route, APIWebSocketRoute):
            found.append(Address("WEBSOCKET", route.path, scopes_of(route)))
        elif isinstance(route, APIRoute):
            found += [Address(method, route.path, scopes_of(route)) for method in sorted(route.methods or ())]
        else:
            found.append(Address("GET", str(getattr(route, "path", "?")), ()))
    return found
