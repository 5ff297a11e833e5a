"""The list of workers in the database: rows of `workers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from emberbox.service.jobs.queue.base import WorkerRecord
from emberbox.store.database import Database, now_us
from emberbox.store.tables import jobs, workers

if TYPE_CHECKING:
    from collections.abc import Collection


MOST_WORKERS = 1000
"""Most workers of one reading."""


class DatabaseWorkers:
    """A `WorkerList` in the database.

    Args:
        db: The database.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def enter(self, worker_id: str, *, node: str, concurrency: int) -> list[str]:
        """See `WorkerList`."""
        now = now_us()
        row = {
            "id": worker_id,
            "node": node,
            "concurrency": concurrency,
            "started_at": now,
            "seen_at": now,
        }
        earlier = select(workers.c.id).where(workers.c.node == node, workers.c.id != worker_id)
        async with self._db.writing() as connection:
            dead = list((await connection.execute(earlier)).scalars())
            await connection.execute(insert(workers).values(row))
        return dead

    async def seen(self, worker_id: str, *, forget_s: float) -> None:
        """See `WorkerList`."""
        now = now_us()
        async with self._db.writing() as connection:
            await connection.execute(update(workers).where(workers.c.id == worker_id).values(seen_at=now))
            await connection.execute(delete(workers).where(workers.c.seen_at < now - int(forget_s * 1e6)))

    async def leave(self, worker_ids: Collection[str]) -> None:
        """See `WorkerList`."""
        await self._db.change(delete(workers).where(workers.c.id.in_(list(worker_ids))))

    async def count(self, within_s: float) -> int:
        """See `WorkerList`."""
        return int(await self._db.scalar(select(func.count()).select_from(workers).where(_seen(within_s))))

    async def living(self, within_s: float) -> list[WorkerRecord]:
        """See `WorkerList`."""
        held = (
            select(jobs.c.worker_id, func.count().label("running"))
            .where(jobs.c.status == "running")
            .group_by(jobs.c.worker_id)
            .subquery()
        )
        statement = (
            select(*workers.c, func.coalesce(held.c.running, 0).label("running"))
            .outerjoin(held, held.c.worker_id == workers.c.id)
            .where(_seen(within_s))
            .order_by(workers.c.id)
            .limit(MOST_WORKERS)
        )
        return [WorkerRecord(**row) for row in await self._db.rows(statement)]


def _seen(within_s: float) -> ColumnElement[bool]:
    return workers.c.seen_at >= now_us() - int(within_s * 1e6)
