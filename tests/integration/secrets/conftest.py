"""What the tests of secrets share."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import select

from emberbox.api.app import create_app
from emberbox.service.secrets.source import KEY_FILE
from emberbox.service.service import Service
from emberbox.store.tables import metadata
from emberbox.testing.engine import HostEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.store import Database

SECRETS = ("geheime Variable", "geheimer Webhook")
CODE = 'printf %s "$TOKEN" | tr a-z b-za; echo " $PLAIN"'
SAID = "hfifjnf Vbsjbcmf open\n"
BODY: dict[str, Any] = {
    "runtime": "bash",
    "code": CODE,
    "env": {"PLAIN": "open"},
    "secret_env": {"TOKEN": SECRETS[0]},
    "webhook": {"url": "http://127.0.0.1:9/", "secret": SECRETS[1]},
}


async def everything(database: Database) -> str:
    """Return all rows of all tables as text."""
    found = [await database.rows(select(table)) for table in metadata.sorted_tables]
    return "\n".join(str(dict(row)) for rows in found for row in rows)


def settle(data: Path) -> None:
    """Make the key file look as if the last rotation was long ago."""
    os.utime(data / KEY_FILE, (0, 0))


@asynccontextmanager
async def starting(settings: Settings) -> AsyncIterator[Service]:
    """Start a service, on what an earlier one left."""
    async with Service(settings, engine=HostEngine(settings)) as service:
        yield service


@asynccontextmanager
async def calling(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Start a service, and yield a client with a key that may run jobs: the same one each time."""
    async with starting(settings) as service:
        kept = settings.data / "test.key"
        if not kept.exists():
            kept.write_text((await service.keys.create("test", ["run"]))[1])
        secret = kept.read_text()
        transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://here", headers=headers) as client:
            yield client
