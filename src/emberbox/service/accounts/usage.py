"""What each key of each team used, by day (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from emberbox.errors import InvalidInput
from emberbox.store.tables import usage
from emberbox.store.upserts import adding

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Share
    from emberbox.store.database import Database

MOST_ROWS = 10_000
"""Most rows of one reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One key's use of one day: jobs that ended, those that succeeded, CPU and wall-clock seconds."""

    team_id: str
    key_id: str
    day: str
    jobs: int
    succeeded: int
    cpu_s: float
    run_s: float


async def record_usage(
    connection: AsyncConnection,
    *,
    team_id: str,
    key_id: str,
    day: str,
    succeeded: bool,
    cpu_s: float,
    run_s: float,
) -> None:
    """Add one job that ended to its key's day, within the caller's transaction.

    Args:
        connection: Of a transaction that writes.
        team_id: The job's team.
        key_id: The job's key.
        day: Day of the end in UTC, as `2026-01-31`.
        succeeded: Whether the job succeeded.
        cpu_s: CPU time that it used, in seconds.
        run_s: Wall-clock time that it ran, in seconds.
    """
    row = {
        "team_id": team_id,
        "key_id": key_id,
        "day": day,
        "jobs": 1,
        "succeeded": int(succeeded),
        "cpu_s": cpu_s,
        "run_s": run_s,
    }
    await connection.execute(_ADD[connection.dialect.name], row)


_ADD = adding(usage, "jobs", "succeeded", "cpu_s", "run_s")


async def cpu_s_today(connection: AsyncConnection, share: Share, day: str) -> float:
    """Return the CPU seconds that a team, or one key, has used on that day (`2026-01-31`)."""
    used = select(func.sum(usage.c.cpu_s)).where(usage.c[share.column] == share.id, usage.c.day == day)
    return float(await connection.scalar(used) or 0.0)


class Usage:
    """Reads what was recorded."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(self, *, team_id: str | None, since: str, until: str) -> list[UsageRow]:
        """Return the days on which something ran, in order.

        Args:
            team_id: The team; None for all of them.
            since: First day, as `2026-01-31`.
            until: Last day; it is included.

        Raises:
            InvalidInput: More than `MOST_ROWS` rows lie between the two days.
            StoreError: The database failed.
        """
        query = select(usage).where(usage.c.day >= since, usage.c.day <= until)
        if team_id is not None:
            query = query.where(usage.c.team_id == team_id)
        order = (usage.c.day, usage.c.team_id, usage.c.key_id)
        rows = await self._db.rows(query.order_by(*order).limit(MOST_ROWS + 1))
        if len(rows) > MOST_ROWS:
            raise InvalidInput(f"that is more than {MOST_ROWS} rows; ask for fewer days")
        return [UsageRow(**row) for row in rows]
