"""The statements of the database's queue that are made once."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import CTE, BigInteger, ColumnElement, bindparam, func, select, text, update

from emberbox.store.tables import jobs


def active() -> ColumnElement[bool]:
    """Return the condition that a job waits or runs."""
    return jobs.c.status.in_(("queued", "running"))


def _one(turn: ColumnElement[int], status: str, *more: ColumnElement[bool]) -> ColumnElement[int]:
    # One place each: an index has it at its end, however many jobs wait.
    return (
        select(turn)
        .where(jobs.c.status == status, jobs.c.precedence == bindparam("precedence"), *more)
        .scalar_subquery()
    )


TURN = select(
    _one(func.max(jobs.c.fair_order), "running"),
    _one(func.min(jobs.c.fair_order), "queued"),
    _one(func.max(jobs.c.fair_order), "queued", jobs.c.team_id == bindparam("team_id")),
)
"""Of a precedence: the latest turn that runs, the first that waits, and the team's latest that waits."""
_WAITING = select(func.count(), func.coalesce(func.sum(jobs.c.input_bytes), 0)).where(
    jobs.c.status == "queued"
)
WAITING = {
    None: _WAITING,
    "team": _WAITING.where(jobs.c.team_id == bindparam("whose")),
    "key": _WAITING.where(jobs.c.key_id == bindparam("whose")),
}
"""How many jobs of all, of a team or of a key wait, and their bytes."""
RUNNING = select(jobs.c.team_id, jobs.c.key_id).where(jobs.c.status == "running")
"""Whose jobs run."""
COUNTS = (
    select(jobs.c.status, jobs.c.runtime, func.count().label("count"))
    .where(active())
    .group_by(jobs.c.status, jobs.c.runtime)
)
"""How many jobs wait and run, by status and runtime."""
OLDEST = select(func.min(jobs.c.available_at)).where(jobs.c.status == "queued")
"""Since when a job could start that waits longest."""


@cache
def ending(columns: tuple[str, ...]) -> Any:
    """Return the statement that ends an attempt which its worker still holds.

    It is made once: composing a statement takes longer than carrying it out.
    """
    held = (
        jobs.c.id == bindparam("w_id"),
        jobs.c.status == "running",
        jobs.c.worker_id == bindparam("w_worker"),
        jobs.c.attempt == bindparam("w_attempt"),
    )
    values = {jobs.c[name]: bindparam(f"v_{name}", type_=jobs.c[name].type) for name in columns}
    return update(jobs).where(*held).values({**values, jobs.c.lease_until_at: None})


def _next() -> Any:
    """Return the statement that finds the job to be claimed next, and the turn that it takes.

    It goes from team to team by an index, and looks at the first job and the first turn of each:
    however many jobs a team has waiting, and whether or not it may run more of them, it costs as much.
    """
    team = _teams_that_wait()
    mine, job, turns = jobs.alias("mine"), jobs.alias("job"), jobs.alias("turns")
    first = (
        select(mine.c.id)
        .where(
            mine.c.status == "queued",
            mine.c.team_id == team.c.team_id,
            mine.c.available_at <= bindparam("now", type_=BigInteger),
            mine.c.cancel_at.is_(None),
            mine.c.key_id.not_in(bindparam("full_keys", expanding=True)),
        )
        .order_by(mine.c.precedence.desc(), mine.c.priority.desc(), mine.c.id)
        .limit(1)
        .scalar_subquery()
    )
    firsts = (
        select(team.c.team_id, first.label("id"))
        .where(team.c.team_id.not_in(bindparam("full_teams", expanding=True)))
        .cte("firsts")
    )
    turn = (
        select(func.min(turns.c.fair_order))
        .where(
            turns.c.team_id == firsts.c.team_id,
            turns.c.status == "queued",
            turns.c.precedence == job.c.precedence,
        )
        .scalar_subquery()
    )
    found = select(job.c.id, job.c.team_id, job.c.precedence, job.c.fair_order, turn.label("turn"))
    return (
        found.join(firsts, firsts.c.id == job.c.id)
        .order_by(job.c.precedence.desc(), text("turn"), job.c.id)
        .limit(1)
    )


def _teams_that_wait() -> CTE:
    """Return the teams that have jobs waiting, each found from the one before by a seek in an index."""
    queued = jobs.c.status == "queued"
    first = select(func.min(jobs.c.team_id).label("team_id")).where(queued)
    found = first.cte("waiting_teams", recursive=True)
    following = select(func.min(jobs.c.team_id)).where(queued, jobs.c.team_id > found.c.team_id)
    return found.union_all(select(following.scalar_subquery()).where(found.c.team_id.is_not(None)))


NEXT = _next()
"""The job to be claimed next, if any; see `_next`."""
CLAIM = (
    update(jobs)
    # The status for PostgreSQL, where another worker may have been faster.
    .where(jobs.c.id == bindparam("w_id"), jobs.c.status == "queued")
    .values(
        status="running",
        worker_id=bindparam("v_worker"),
        lease_until_at=bindparam("v_lease", type_=BigInteger),
        attempt=jobs.c.attempt + 1,
        claimed_at=bindparam("v_now", type_=BigInteger),
        started_at=None,
        ended_at=None,
        fair_order=bindparam("v_turn", type_=BigInteger),
    )
    .returning(*jobs.c)
)
"""Claims a job that waits; it takes a turn of its team."""
_PASSED_OVER = (
    select(jobs.c.id)
    .where(
        jobs.c.team_id == bindparam("w_team"),
        jobs.c.status == "queued",
        jobs.c.precedence == bindparam("w_precedence"),
        jobs.c.fair_order == bindparam("w_turn", type_=BigInteger),
    )
    .limit(1)
    .scalar_subquery()
)
SWAP = update(jobs).where(jobs.c.id == _PASSED_OVER).values(fair_order=bindparam("v_later", type_=BigInteger))
"""Gives a job whose turn another job of its team took the turn of that one."""
