"""The queue in the database: rows of `jobs` that say `queued`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, literal, or_, select, update

from emberbox.service.accounts.quota import Bounds
from emberbox.service.jobs.queue.base import (
    SILENT,
    CancelRequests,
    Places,
    QueueDepth,
    Reclaimed,
    Waiting,
    counter_of,
)
from emberbox.service.jobs.queue.statements import (
    CLAIM,
    COUNTS,
    NEXT,
    OLDEST,
    RUNNING,
    SWAP,
    TURN,
    WAITING,
    active,
    ending,
)
from emberbox.service.jobs.queue.workers import DatabaseWorkers
from emberbox.service.jobs.rows import find_job
from emberbox.store.database import Database, now_us
from emberbox.store.records import JobRecord
from emberbox.store.tables import attempts, jobs
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Share

MISSES = 20
"""How often a claim looks again after another worker was faster."""
CANCELLED_AT_ONCE = 1000
"""Waiting jobs that are to be cancelled of which one heartbeat is told; it must not take too long."""
FOREIGN_S = 1.0
"""Jobs that another process put are seen after this long at the latest."""


class DatabaseQueue:
    """A `JobQueue` on the jobs' own rows.

    Teams take turns by start-time fair queueing: with each job that is inserted its team gets a turn
    `fair_order`, behind its latest and not before the turn that started last. The lowest turn is
    next. It goes to the team's first job by priority, which so costs no other team anything; the job
    that came with that turn gets the other's.

    Args:
        db: The database.
        bounds: Called for each claim, in any thread, for the bounds of running jobs.
    """

    def __init__(self, db: Database, bounds: Callable[[], Bounds] = Bounds) -> None:
        self._db = db
        self._bounds = bounds
        self._news = asyncio.Event()
        self.workers = DatabaseWorkers(db)
        """See `JobQueue`."""

    async def places(self, connection: AsyncConnection, wanted: Collection[tuple[str, int]]) -> Places:
        """See `JobQueue`: behind the team's latest turn, and not before the one that began last.

        Each precedence has turns of its own.
        """
        last: dict[tuple[str, int], int] = {}
        for team_id, precedence in wanted:
            values = {"team_id": team_id, "precedence": precedence}
            started, first, latest = (await connection.execute(TURN, values)).one()
            last[team_id, precedence] = max(started if started is not None else (first or 1) - 1, latest or 0)

        def take(team_id: str, precedence: int) -> int:
            last[team_id, precedence] += 1
            return last[team_id, precedence]

        return take

    async def waiting(self, connection: AsyncConnection, share: Share | None) -> Waiting:
        """See `JobQueue`."""
        query = WAITING[None if share is None else share.whose]
        named = {} if share is None else {"whose": share.id}
        count, size = (await connection.execute(query, named)).one()
        return Waiting(count, int(size))

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """See `JobQueue`: the rows are there; waiting workers are told."""
        self._news.set()

    async def wait(self, timeout_s: float) -> None:
        """See `JobQueue`."""
        await set_within(self._news, min(timeout_s, FOREIGN_S))

    async def claim(self, worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        """See `JobQueue`: one transaction, in which each job sees those taken before it."""
        self._news.clear()
        now = now_us()
        lease = {"v_worker": worker_id, "v_lease": now + int(lease_s * 1e6), "v_now": now}

        async def take(connection: AsyncConnection) -> list[JobRecord]:
            # Asked for here: whoever's job is there by now has its bound known.
            bounds = self._bounds()
            running: list[Any] = list(await connection.execute(RUNNING)) if bounds else []
            taken: list[JobRecord] = []
            # Another worker may take what was found, on PostgreSQL; that is looked past, within a bound.
            for _ in range(2 * count + MISSES):
                if len(taken) == count:
                    break
                teams, keys = bounds.full([*running, *taken])
                found = (await connection.execute(NEXT, _named(now, teams, keys))).first()
                if found is None:
                    break
                if (job := await _claimed(connection, found, lease)) is not None:
                    taken.append(job)
            return taken

        return await self._db.write(take)

    async def renew(self, worker_id: str, lease_s: float, job_ids: Collection[str]) -> Collection[str]:
        """See `JobQueue`."""
        statement = (
            update(jobs)
            .where(jobs.c.worker_id == worker_id, jobs.c.status == "running", jobs.c.id.in_(list(job_ids)))
            .values(lease_until_at=now_us() + int(lease_s * 1e6))
            .returning(jobs.c.id)
        )
        return {row["id"] for row in await self._db.changed(statement)}

    async def give_back(self, job: JobRecord, *, delay_s: float, outcome: str, message: str | None) -> bool:
        """See `JobQueue`."""
        held = _held_by(job)
        async with self._db.writing() as connection:
            given = await _requeue(connection, held, delay_s=delay_s, outcome=outcome, message=message)
        if given and delay_s <= 0:
            self._news.set()
        return bool(given)

    async def reclaim(
        self, *, interruptions: int, pause_s: Callable[[int], float], workers: Collection[str] = ()
    ) -> Reclaimed:
        """See `JobQueue`."""
        stale: ColumnElement[bool] = or_(
            jobs.c.lease_until_at < now_us(), jobs.c.worker_id.in_(list(workers))
        )
        stale = and_(jobs.c.status == "running", stale)
        if await self._db.row(select(jobs.c.id).where(stale).limit(1)) is None:
            return Reclaimed()
        requeued: list[str] = []
        async with self._db.writing() as connection:
            # Another service may be at it as well; what it takes back is locked.
            again = select(*jobs.c).where(stale, jobs.c.interruptions < interruptions)
            rows = await connection.execute(again.with_for_update(skip_locked=True))
            for job in [JobRecord.from_row(row) for row in rows.mappings()]:
                requeued += await _requeue(
                    connection,
                    _held_by(job),
                    delay_s=pause_s(job.interruptions + 1),
                    outcome="interrupted",
                    message=SILENT,
                )
            # The lease ends now: no worker holds what is about to be written off.
            rows = await connection.execute(
                update(jobs)
                .where(stale, jobs.c.interruptions >= interruptions)
                .values(interruptions=jobs.c.interruptions + 1, worker_id="nobody")
                .returning(*jobs.c)
            )
            exhausted = tuple(JobRecord.from_row(row) for row in rows.mappings())
        if requeued:
            self._news.set()
        return Reclaimed(requeued=tuple(requeued), exhausted=exhausted)

    async def end_held(self, connection: AsyncConnection, job: JobRecord, end: Mapping[str, Any]) -> bool:
        """See `JobQueue`."""
        held = {"w_id": job.id, "w_worker": job.worker_id, "w_attempt": job.attempt}
        values = {f"v_{name}": value for name, value in end.items()}
        return bool((await connection.execute(ending(tuple(end)), {**held, **values})).rowcount)

    async def end_queued(
        self, connection: AsyncConnection, job_id: str, end: Mapping[str, Any]
    ) -> JobRecord | None:
        """See `JobQueue`."""
        waits = and_(jobs.c.id == job_id, jobs.c.status == "queued")
        statement = update(jobs).where(waits).values(**end, lease_until_at=None).returning(*jobs.c)
        row = (await connection.execute(statement)).mappings().first()
        return None if row is None else JobRecord.from_row(row)

    async def request_cancel(self, job_id: str) -> JobRecord | None:
        """See `JobQueue`."""
        async with self._db.writing() as connection:
            await connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, active(), jobs.c.cancel_at.is_(None))
                .values(cancel_at=now_us())
            )
            return await find_job(connection, job_id)

    async def request_cancel_of(
        self, connection: AsyncConnection, key_id: str, *, running: bool
    ) -> CancelRequests:
        """See `JobQueue`."""
        asked = active() if running else jobs.c.status == "queued"
        statement = (
            update(jobs)
            .where(jobs.c.key_id == key_id, asked)
            .values(cancel_at=func.coalesce(jobs.c.cancel_at, now_us()))
            .returning(jobs.c.id, jobs.c.status)
        )
        found = (await connection.execute(statement)).all()
        return CancelRequests(
            queued=tuple(row.id for row in found if row.status == "queued"),
            held=tuple(row.id for row in found if row.status == "running"),
        )

    async def cancel_requests(self, worker_id: str) -> CancelRequests:
        """See `JobQueue`: at most `CANCELLED_AT_ONCE` of those that wait."""
        asked = select(jobs.c.id).where(jobs.c.cancel_at.is_not(None))
        queued = asked.where(jobs.c.status == "queued").limit(CANCELLED_AT_ONCE)
        held = asked.where(jobs.c.status == "running", jobs.c.worker_id == worker_id)
        return CancelRequests(
            queued=tuple(row["id"] for row in await self._db.rows(queued)),
            held=tuple(row["id"] for row in await self._db.rows(held)),
        )

    async def depth(self) -> QueueDepth:
        """See `JobQueue`."""
        counts = {(row["status"], row["runtime"]): row["count"] for row in await self._db.rows(COUNTS)}
        since = await self._db.scalar(OLDEST)
        return QueueDepth(
            counts=counts, oldest_s=0.0 if since is None else max(0.0, (now_us() - since) / 1e6)
        )


def _named(now: int, full_teams: set[str], full_keys: set[str]) -> dict[str, Any]:
    return {"now": now, "full_teams": sorted(full_teams), "full_keys": sorted(full_keys)}


async def _claimed(connection: AsyncConnection, found: Row[Any], lease: dict[str, Any]) -> JobRecord | None:
    """Claim a job that was found to be next; None where another worker did."""
    values = {**lease, "w_id": found.id, "v_turn": found.turn}
    row = (await connection.execute(CLAIM, values)).mappings().first()
    if row is None:
        return None
    if found.fair_order != found.turn:
        whose = {"w_team": found.team_id, "w_precedence": found.precedence, "w_turn": found.turn}
        await connection.execute(SWAP, {**whose, "v_later": found.fair_order})
    return JobRecord.from_row(row)


def _held_by(job: JobRecord) -> ColumnElement[bool]:
    """Return the condition that the worker that claimed `job` still holds that very attempt."""
    return and_(
        jobs.c.id == job.id,
        jobs.c.status == "running",
        jobs.c.worker_id == job.worker_id,
        jobs.c.attempt == job.attempt,
    )


async def _requeue(
    connection: AsyncConnection,
    which: ColumnElement[bool],
    *,
    delay_s: float,
    outcome: str,
    message: str | None,
) -> list[str]:
    """Let claimed jobs wait again, and note how their attempts ended; returns their ids."""
    now = now_us()
    counter = counter_of(outcome)
    counted = {} if counter is None else {counter: jobs.c[counter] + 1}
    ended = select(
        jobs.c.id,
        jobs.c.attempt,
        jobs.c.worker_id,
        jobs.c.claimed_at,
        literal(now),
        literal(outcome),
        literal(message),
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
            **counted,
        )
        .returning(jobs.c.id)
    )
    return list((await connection.execute(statement)).scalars())
