"""What the tests of webhooks share: a receiver, a key, and a dispatcher that runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from emberbox.config import Settings, WebhookSettings
from emberbox.ids import new_id
from emberbox.service.webhooks.dispatcher import Dispatcher
from emberbox.service.webhooks.registry import Webhooks
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord, JobSpec, KeyRecord
from emberbox.store.tables import deliveries, keys
from tests.integration.webhooks.receiver import Receiver, receiving
from tests.patience import PATIENCE_S
from tests.vaults import vault_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from emberbox.store import Database

VAULT = vault_with()
HOOKS = WebhookSettings(allow_private=True, attempts=4, timeout_s=PATIENCE_S, retry_s=0.02, retry_max_s=0.2)


def settings_with(hooks: WebhookSettings = HOOKS, **changes: Any) -> Settings:
    return replace(Settings(), webhooks=replace(hooks, **changes))


def ended_job(key_id: str, status: str = "succeeded", **changes: Any) -> JobRecord:
    """A job as it is when it has ended."""
    now = now_us()
    values: dict[str, Any] = dict.fromkeys(JobRecord.__dataclass_fields__) | {
        "id": new_id("job"),
        "key_id": key_id,
        "runtime": "python",
        "entry": "main.py",
        "content_sha": "0" * 64,
        "spec": JobSpec(),
        "labels": {"team": "data"},
        "priority": 0,
        "fair_order": 0,
        "status": status,
        "reason": "exited",
        "exit_code": 0,
        "attempt": 1,
        "failures": 0,
        "losses": 0,
        "available_at": now,
        "created_at": now,
        "claimed_at": now,
        "started_at": now,
        "ended_at": now,
        "finished_at": now,
        "metrics": {"run_ms": 12.5},
        "stdout_bytes": 3,
        "stderr_bytes": 0,
        "storage_bytes": 0,
    }
    return JobRecord(**(values | changes))


@asynccontextmanager
async def dispatching(dispatcher: Dispatcher) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher; it must not end by itself."""
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def make_owner(database: Database) -> Callable[[], Awaitable[KeyRecord]]:
    """Make a key that owns webhooks."""

    async def make() -> KeyRecord:
        now, key_id = now_us(), new_id("key")
        row = {
            "id": key_id,
            "name": "t",
            "hash": key_id,
            "hint": "",
            "scopes": "run",
            "quota": {},
            "created_at": now,
        }
        async with database.writing() as connection:
            await connection.execute(insert(keys).values(**row))
        return KeyRecord(
            id=key_id,
            name="t",
            hint="",
            scopes=frozenset({"run", "read"}),
            quota={},
            created_at=now,
            expires_at=None,
            last_used_at=None,
            revoked_at=None,
        )

    return make


@pytest.fixture
async def owner(make_owner: Callable[[], Awaitable[KeyRecord]]) -> KeyRecord:
    return await make_owner()


@pytest.fixture
async def dispatcher(database: Database) -> AsyncIterator[Dispatcher]:
    """A dispatcher that runs, with short pauses."""
    async with dispatching(Dispatcher(database, settings_with(), VAULT)) as running:
        yield running


@pytest.fixture
def webhooks(database: Database, dispatcher: Dispatcher) -> Webhooks:
    return Webhooks(database, settings_with(), VAULT, dispatcher.wake)


async def settled(database: Database, count: int = 1, timeout_s: float = PATIENCE_S) -> list[dict[str, Any]]:
    """Wait until so many deliveries have ended and none is pending; returns all, in order."""
    async with asyncio.timeout(timeout_s):
        while True:
            async with database.reading() as connection:
                rows = [
                    dict(row)
                    for row in (
                        await connection.execute(select(deliveries).order_by(deliveries.c.id))
                    ).mappings()
                ]
            if len(rows) >= count and all(row["status"] != "pending" for row in rows):
                return rows
            await asyncio.sleep(0.01)
