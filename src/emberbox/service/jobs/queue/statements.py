"""The statements of the database's queue that are made once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ColumnElement, Integer, bindparam, case, func, literal, select, update

from emberbox.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.service.accounts.quota import Bounds


def active() -> ColumnElement[bool]:
    """Return the condition that a job waits or runs."""
    return jobs.c.status.in_(("queued", "running"))


def _one(place: ColumnElement[int], status: str, *more: ColumnElement[bool]) -> ColumnElement[int]:
    # One place each: an index has it at its end, however many jobs wait.
    return (
        select(place)
        .where(jobs.c.status == status, jobs.c.priority == bindparam("priority"), *more)
        .scalar_subquery()
    )


PLACE = select(
    _one(func.max(jobs.c.fair_order), "running"),
    _one(func.min(jobs.c.fair_order), "queued"),
    _one(func.max(jobs.c.fair_order), "queued", jobs.c.team_id == bindparam("team_id")),
)
"""Of a priority: the latest place that runs, the first that waits, and the team's latest that waits."""
WAITING = {
    whose: select(func.count()).where(column == bindparam("whose"), jobs.c.status == "queued")
    for whose, column in (("team", jobs.c.team_id), ("key", jobs.c.key_id))
}
"""How many jobs of a team, or of a key, wait."""
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


def claiming(sqlite: bool, bounds: Bounds) -> Any:
    """Return the statement that claims jobs.

    It is made once where it can be: composing it takes longer than carrying it out.

    Args:
        sqlite: Whether it is for SQLite, which has one writer at a time.
        bounds: How many jobs each team and key may run.
    """
    waiting = [
        jobs.c.status == "queued",
        jobs.c.available_at <= bindparam("now", type_=BigInteger),
        jobs.c.cancel_at.is_(None),
    ]
    if bounds:
        waiting += _within_bounds(bounds)
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


def _within_bounds(bounds: Bounds) -> list[ColumnElement[bool]]:
    """Pass over teams and keys that run as many jobs as they may."""
    conditions = [_not_full("team_id", bounds.of, bounds.default)]
    if bounds.of_keys:
        conditions.append(_not_full("key_id", bounds.of_keys, 0))
    return conditions


def _not_full(owner: str, own: Mapping[str, int], default: int) -> ColumnElement[bool]:
    running = jobs.alias("running")
    unbounded = 2_000_000_000
    bound: ColumnElement[int] = literal(default or unbounded)
    if own:
        bound = case(
            *((running.c[owner] == whose, literal(of or unbounded)) for whose, of in own.items()),
            else_=bound,
        )
    full = (
        select(running.c[owner])
        .where(running.c.status == "running")
        .group_by(running.c[owner])
        .having(func.count() >= func.min(bound))
    )
    return jobs.c[owner].not_in(full)
