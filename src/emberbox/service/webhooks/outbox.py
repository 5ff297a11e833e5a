"""The outbox: what is due, who works on it, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Update, func, select, update

from emberbox.store.database import Database, now_us
from emberbox.store.records import ClaimedDelivery
from emberbox.store.tables import deliveries, webhooks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


_HISTORY = 50
_GONE = "the webhook was deleted"
_INACTIVE = "the webhook is not active"


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that waits to be attempted."""

    id: str
    lane: str
    team_id: str


class Outbox:
    """The deliveries in the database, as dispatchers see them. Several may work on one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def due(self, now: int, limit: int, *, lanes: Collection[str], teams: Collection[str]) -> list[Due]:
        """Return deliveries that are due by now, the longest due first, but none of these lanes and teams."""
        query = (
            select(deliveries.c.id, deliveries.c.lane, deliveries.c.team_id)
            .where(deliveries.c.status == "pending", deliveries.c.next_at <= now)
            .where(deliveries.c.lane.not_in(lanes), deliveries.c.team_id.not_in(teams))
            .order_by(deliveries.c.next_at)
            .limit(limit)
        )
        return [Due(*row.values()) for row in await self._db.rows(query)]

    async def pending(self) -> int:
        """Count the deliveries that are still to be made."""
        query = select(func.count()).select_from(deliveries).where(deliveries.c.status == "pending")
        return int(await self._db.scalar(query))

    async def next_at(self, *, after: int = 0) -> int | None:
        """Return the first time after `after` at which a delivery is due, or its lease ends, if any is."""
        query = select(func.min(deliveries.c.next_at)).where(
            deliveries.c.status == "pending", deliveries.c.next_at > after
        )
        found: int | None = await self._db.scalar(query)
        return found

    async def claim(self, ids: Sequence[str], lease_s: float) -> list[ClaimedDelivery]:
        """Take those of the deliveries that are still due, in one statement, until the lease ends.

        Those whose webhook was deleted or switched off meanwhile end as dead instead.
        """
        now = now_us()
        claim = (
            update(deliveries)
            .where(deliveries.c.id.in_(ids), deliveries.c.status == "pending", deliveries.c.next_at <= now)
            .values(attempt=deliveries.c.attempt + 1, next_at=now + round(lease_s * 1_000_000))
            .returning(*(deliveries.c[f.name] for f in fields(ClaimedDelivery)))
        )
        async with self._db.writing() as connection:
            rows = [dict(row) for row in (await connection.execute(claim)).mappings()]
            return await self._addressed(connection, rows)

    async def finish(
        self, claimed: ClaimedDelivery, status: str, entry: dict[str, Any], *, next_at: int | None = None
    ) -> bool:
        """Write what became of an attempt; False when the delivery is no longer this caller's.

        Args:
            claimed: The delivery.
            status: `delivered`, `dead`, or `pending` to try again.
            entry: For its history.
            next_at: When to try again, in microseconds since the epoch.
        """
        return await self._db.change(_finishing(claimed, status, entry, next_at)) == 1

    async def release(self, claimed: ClaimedDelivery) -> None:
        """Hand a delivery back as if it had not been claimed: it is due at once."""
        values = {"attempt": claimed.attempt - 1, "next_at": now_us()}
        await self._db.change(update(deliveries).where(*_mine(claimed)).values(**values))

    async def deactivate(self, webhook_id: str) -> None:
        """Switch a webhook off, since its receiver said that it is gone."""
        values = {"active": False, "updated_at": now_us()}
        await self._db.change(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))

    async def _addressed(
        self, connection: AsyncConnection, rows: list[dict[str, Any]]
    ) -> list[ClaimedDelivery]:
        """Give each delivery of a webhook the URL and the secret that the webhook has now."""
        wanted = {row["webhook_id"] for row in rows} - {None}
        columns = (webhooks.c.id, webhooks.c.url, webhooks.c.secret, webhooks.c.active)
        query = select(*columns).where(webhooks.c.id.in_(wanted))
        hooks = {hook.id: hook for hook in await connection.execute(query)} if wanted else {}
        ready = []
        for row in rows:
            hook = hooks.get(row["webhook_id"])
            if row["webhook_id"] is None:
                ready.append(ClaimedDelivery(**row))
            elif hook is not None and hook.active:
                ready.append(ClaimedDelivery(**{**row, "url": hook.url, "secret": hook.secret}))
            else:
                entry = history_entry(row["attempt"], error=_INACTIVE if hook else _GONE)
                await connection.execute(_finishing(ClaimedDelivery(**row), "dead", entry, None))
        return ready


def history_entry(
    attempt: int,
    *,
    status: int | None = None,
    duration_ms: float = 0.0,
    error: str | None = None,
    response: str | None = None,
) -> dict[str, Any]:
    """Return what the history keeps of an attempt that ends now."""
    return {
        "attempt": attempt,
        "at": now_us(),
        "status": status,
        "duration_ms": duration_ms,
        "error": error,
        "response": response,
    }


def _finishing(claimed: ClaimedDelivery, status: str, entry: dict[str, Any], next_at: int | None) -> Update:
    values = {
        "status": status,
        "url": claimed.url,
        "history": [*claimed.history, entry][-_HISTORY:],
        "next_at": next_at,
        "finished_at": None if status == "pending" else now_us(),
    }
    return update(deliveries).where(*_mine(claimed)).values(**values)


def _mine(claimed: ClaimedDelivery) -> tuple[Any, ...]:
    return (
        deliveries.c.id == claimed.id,
        deliveries.c.status == "pending",
        deliveries.c.attempt == claimed.attempt,
    )
