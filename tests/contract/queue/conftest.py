"""The queues that the contract is tried on, each with a way to make jobs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

import pytest
from sqlalchemy import insert, update

from emberbox.service.accounts.quota import Bounds
from emberbox.service.jobs.queue.database import DatabaseQueue
from emberbox.service.jobs.submitting.order import JobOrder, new_row
from emberbox.service.jobs.submitting.submission import Submission
from emberbox.service.uploads.contents import Contents
from emberbox.service.uploads.heavy import HeavyTurns
from emberbox.store import Database
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord, JobSpec
from emberbox.store.tables import contents, jobs
from emberbox.testing import MemoryBlobs
from emberbox.testing.queue import MemoryQueue
from tests.accounts import key_record
from tests.integration.conftest import (  # noqa: F401
    database,
    database_url,
    postgres,
    postgres_template,
    postgresql_url,
    sqlite_template,
    sqlite_url,
)
from tests.storing import quotas_of, reservations_of
from tests.vaults import vault_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store.records import KeyRecord

SHA = "0" * 64


def key(name: str, granted: int = 0) -> KeyRecord:
    """A key of a team of its own, or for `team/key` one of a team's keys; with a priority that is granted."""
    team, _, own = name.partition("/")
    record = key_record(id=f"key_{own or team}", team_id=f"team_{team}")
    return replace(record, team_quota={"priority": granted})


class Bench(Protocol):
    """A queue, and what jobs need besides."""

    @property
    def queue(self) -> JobQueue: ...

    bounds: Bounds

    async def job(self, owner: str = "a", *, priority: int = 0, granted: int = 0) -> JobRecord: ...

    async def expire_leases(self) -> None: ...

    async def now(self, job: JobRecord) -> JobRecord: ...

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]: ...


def order(priority: int) -> JobOrder:
    return JobOrder(
        runtime="bash", entry="main.sh", content_sha=SHA, spec=JobSpec(), labels={}, priority=priority
    )


class MemoryBench:
    def __init__(self) -> None:
        self.bounds = Bounds()
        self.queue = MemoryQueue(lambda: self.bounds)

    async def job(self, owner: str = "a", *, priority: int = 0, granted: int = 0) -> JobRecord:
        record, precedence = key(owner, granted), max(0, min(priority, granted))
        places = await self.queue.places(None, {(record.team_id, precedence)})
        turn = {"precedence": precedence, "fair_order": places(record.team_id, precedence)}
        row = new_row(record, order(priority), now_us(), vault_with())
        job = JobRecord.from_row({**row, **turn, "input_bytes": 5})
        await self.queue.put([job])
        return job

    async def expire_leases(self) -> None:
        self.queue.jobs = {
            name: replace(job, lease_until_at=0) if job.lease_until_at else job
            for name, job in self.queue.jobs.items()
        }

    async def now(self, job: JobRecord) -> JobRecord:
        return self.queue.jobs[job.id]

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return nullcontext(cast("AsyncConnection", None))


class DatabaseBench:
    def __init__(self, db: Database) -> None:
        self.bounds = Bounds()
        self.db = db
        self.queue = DatabaseQueue(db, lambda: self.bounds)
        self.submission = Submission(
            db,
            self.queue,
            quotas_of(db),
            Contents(db, MemoryBlobs()),
            reservations_of(db),
            vault_with(),
            HeavyTurns(),
            check_ready=lambda: None,
            accepted=lambda job: None,
        )

    async def job(self, owner: str = "a", *, priority: int = 0, granted: int = 0) -> JobRecord:
        return (await self.submission.submit(key(owner, granted), order(priority)))[0]

    async def expire_leases(self) -> None:
        async with self.db.writing() as connection:
            await connection.execute(update(jobs).where(jobs.c.status == "running").values(lease_until_at=0))

    async def now(self, job: JobRecord) -> JobRecord:
        async with self.db.reading() as connection:
            row = (await connection.execute(jobs.select().where(jobs.c.id == job.id))).mappings().one()
        return JobRecord.from_row(row)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self.db.writing()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def queue_url(request: pytest.FixtureRequest) -> str | None:
    """The database of a queue; None for the one without."""
    return None if request.param == "memory" else str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def bench(queue_url: str | None) -> AsyncIterator[Bench]:
    """A fresh queue."""
    if queue_url is None:
        yield MemoryBench()
        return
    db = Database(queue_url)
    async with db.writing() as connection:
        row = {"sha256": SHA, "kind": "file", "size": 0, "entries": [], "data": b"", "touched_at": 0}
        await connection.execute(insert(contents).values(row))
    yield DatabaseBench(db)
    await db.close()
