"""The queue in the database: rows of `jobs` that say `queued`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, and_, bindparam, case, func, insert, literal, or_, select, update

from emberbox.jobs.queue.base import Bounds, QueueDepth, Reclaimed
from emberbox.store.database import now_us
from emberbox.store.records import JobRecord
from emberbox.store.tables import attempts, jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import ColumnElement, RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store import Database

FOREIGN_S = 1.0
"""Jobs that another process put are seen after this long at the latest."""


class DatabaseQueue:
    """A `JobQueue` on the jobs' own rows.

    Within a priority, keys take turns by start-time fair queueing: each job gets, when it is inserted, a place `fair_order`
    behind its key's latest and not before the job that started last. What is claimed is then the lowest place, by an index.

    Args:
        db: The database.
        bounds: Called before each claim for the keys' bounds of running jobs.
    """

    def __init__(self, db: Database, bounds: Callable[[], Bounds] = Bounds) -> None:
        self._db = db
        self._bounds = bounds
        self._news = asyncio.Event()
        self._claim = _claiming(db.sqlite, Bounds())

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """See `JobQueue`: the rows are there; waiting workers are told."""
        self._news.set()

    async def wait(self, timeout_s: float) -> None:
        """See `JobQueue`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, FOREIGN_S)):
                await self._news.wait()

    async def claim(self, worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        """See `JobQueue`: one statement finds, marks and returns the jobs."""
        self._news.clear()
        now = now_us()
        bounds = self._bounds()
        statement = self._claim if not bounds else _claiming(self._db.sqlite, bounds)
        values = {
            # Where bounds hold, jobs are taken one at a time, so that each sees those taken before it.
            "most": 1 if bounds else count,
            "now": now,
            "v_worker": worker_id,
            "v_lease": now + int(lease_s * 1e6),
        }

        async def claim(connection: AsyncConnection) -> Sequence[RowMapping]:
            return (await connection.execute(statement, values)).mappings().all()

        rows = await self._db.write(claim)
        return sorted((JobRecord.from_row(row) for row in rows), key=lambda job: (-job.priority, job.fair_order, job.id))

    async def renew(self, worker_id: str, lease_s: float, job_ids: Collection[str]) -> Collection[str]:
        """See `JobQueue`."""
        statement = (
            update(jobs)
            .where(jobs.c.worker_id == worker_id, jobs.c.status == "running", jobs.c.id.in_(list(job_ids)))
            .values(lease_until_at=now_us() + int(lease_s * 1e6))
            .returning(jobs.c.id)
        )
        async with self._db.writing() as connection:
            return set((await connection.execute(statement)).scalars())

    async def give_back(self, job: JobRecord, *, delay_s: float, outcome: str, message: str | None) -> bool:
        """See `JobQueue`."""
        async with self._db.writing() as connection:
            given = await requeue(connection, held_by(job), delay_s=delay_s, outcome=outcome, message=message)
        if given and delay_s <= 0:
            self._news.set()
        return bool(given)

    async def reclaim(self, *, losses: int, workers: Collection[str] = ()) -> Reclaimed:
        """See `JobQueue`."""
        stale: ColumnElement[bool] = or_(jobs.c.lease_until_at < now_us(), jobs.c.worker_id.in_(list(workers)))
        stale = and_(jobs.c.status == "running", stale)
        async with self._db.reading() as connection:
            if not (await connection.execute(select(jobs.c.id).where(stale).limit(1))).first():
                return Reclaimed()
        async with self._db.writing() as connection:
            requeued = await requeue(
                connection,
                and_(stale, jobs.c.losses < losses),
                delay_s=0.0,
                outcome="lost",
                message="its worker stopped without a word",
            )
            # The lease ends now: no worker holds what is about to be written off.
            rows = await connection.execute(
                update(jobs).where(stale).values(losses=jobs.c.losses + 1, worker_id="nobody").returning(*jobs.c)
            )
            exhausted = tuple(JobRecord.from_row(row) for row in rows.mappings())
        if requeued:
            self._news.set()
        return Reclaimed(requeued=tuple(requeued), exhausted=exhausted)

    async def depth(self) -> QueueDepth:
        """See `JobQueue`."""
        now = now_us()
        startable = case((and_(jobs.c.status == "queued", jobs.c.available_at <= now), jobs.c.created_at))
        statement = select(
            func.sum(case((jobs.c.status == "queued", 1), else_=0)),
            func.sum(case((jobs.c.status == "running", 1), else_=0)),
            func.min(startable),
        ).where(jobs.c.status.in_(("queued", "running")))
        async with self._db.reading() as connection:
            queued, running, oldest = (await connection.execute(statement)).one()
        return QueueDepth(queued=queued or 0, running=running or 0, oldest_s=(now - oldest) / 1e6 if oldest else 0.0)


def _claiming(sqlite: bool, bounds: Bounds) -> Any:
    """Return the statement that claims; made once where it can be, since composing it takes longer than carrying it out."""
    waiting = [jobs.c.status == "queued", jobs.c.available_at <= bindparam("now", type_=BigInteger), jobs.c.cancel_at.is_(None)]
    if bounds:
        waiting.append(_within_bounds(bounds))
    order = (jobs.c.priority.desc(), jobs.c.fair_order, jobs.c.id)
    candidates = select(jobs.c.id).where(*waiting).order_by(*order).limit(bindparam("most", type_=Integer))
    if not sqlite:
        candidates = candidates.with_for_update(skip_locked=True)
    # As a subquery PostgreSQL may evaluate it more than once, and take more than the limit.
    chosen = candidates.cte("chosen")
    return (
        update(jobs)
        # Nothing besides the ids: SQLite would look for them among all that wait.
        .where(jobs.c.id.in_(select(chosen.c.id)))
        .values(
            status="running",
            worker_id=bindparam("v_worker"),
            lease_until_at=bindparam("v_lease", type_=BigInteger),
            attempt=jobs.c.attempt + 1,
            claimed_at=bindparam("now", type_=BigInteger),
            started_at=None,
            ended_at=None,
        )
        .returning(*jobs.c)
    )


def held_by(job: JobRecord) -> ColumnElement[bool]:
    """Return the condition that the worker that claimed `job` still holds that very attempt."""
    return and_(jobs.c.id == job.id, jobs.c.status == "running", jobs.c.worker_id == job.worker_id, jobs.c.attempt == job.attempt)


async def requeue(
    connection: AsyncConnection, which: ColumnElement[bool], *, delay_s: float, outcome: str, message: str | None
) -> list[str]:
    """Let claimed jobs wait again, and note how their attempts ended; returns their ids."""
    now = now_us()
    ended = select(
        jobs.c.id, jobs.c.attempt, jobs.c.worker_id, jobs.c.claimed_at, literal(now), literal(outcome), literal(message)
    ).where(which)
    columns = ["job_id", "attempt", "worker_id", "claimed_at", "ended_at", "outcome", "message"]
    await connection.execute(insert(attempts).from_select(columns, ended))
    statement = (
        update(jobs)
        .where(which)
        .values(
            status="queued",
            worker_id=None,
            lease_until_at=None,
            available_at=now + int(delay_s * 1e6),
            losses=jobs.c.losses + (1 if outcome == "lost" else 0),
            failures=jobs.c.failures + (1 if outcome not in ("lost", "given_back") else 0),
        )
        .returning(jobs.c.id)
    )
    return list((await connection.execute(statement)).scalars())


def _within_bounds(bounds: Bounds) -> ColumnElement[bool]:
    """Pass over keys that run as many jobs as they may."""
    running = jobs.alias("running")
    unbounded = 2_000_000_000
    bound: ColumnElement[int] = literal(bounds.default or unbounded)
    if bounds.of:
        bound = case(*((running.c.key_id == key, literal(of or unbounded)) for key, of in bounds.of.items()), else_=bound)
    full = (
        select(running.c.key_id)
        .where(running.c.status == "running")
        .group_by(running.c.key_id)
        .having(func.count() >= func.min(bound))
    )
    return jobs.c.key_id.not_in(full)
