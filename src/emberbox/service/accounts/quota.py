"""What each team may use, and each of its keys: bounds from the settings, the team or the key.

A team's bounds hold for all its keys together. They are the settings', unless the team has its own.
A key's own bounds come on top: a key may be held to less than its team, and never gets more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select

from emberbox.errors import QuotaExceeded
from emberbox.store.tables import jobs, keys, scripts, teams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select

    from emberbox.config import QuotaSettings
    from emberbox.store import Database
    from emberbox.store.records import JobRecord, KeyRecord

STORAGE_S = 5.0
"""For so long stored bytes are not counted again; a team may go over its bound by what comes in
meanwhile."""
KEYS_S = 2.0


@dataclass(frozen=True, slots=True)
class Share:
    """What a team, or one key of it, may use of something.

    Args:
        whose: For whom it holds, as people call it.
        id: Of the team or the key.
        bound: How much; more than 0.
    """

    whose: Literal["team", "key"]
    id: str
    bound: float

    @property
    def column(self) -> str:
        """The column, in any table of what is owned, that holds `id`."""
        return f"{self.whose}_id"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs may run at once; 0 means no bound.

    Args:
        default: Of a team that is not in `of`.
        of: By team.
        of_keys: By key, for those that have a bound of their own.
    """

    default: int = 0
    of: Mapping[str, int] = field(default_factory=dict)
    of_keys: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether anybody has a bound."""
        return self.default > 0 or any(
            bound > 0 for bounds in (self.of, self.of_keys) for bound in bounds.values()
        )

    def allow(self, job: JobRecord, running: Sequence[JobRecord]) -> bool:
        """Return whether a job may start beside those that run."""
        team, key = self.of.get(job.team_id, self.default), self.of_keys.get(job.key_id, 0)
        of_team = sum(other.team_id == job.team_id for other in running)
        of_key = sum(other.key_id == job.key_id for other in running)
        return (not team or of_team < team) and (not key or of_key < key)


class Quotas:
    """Checks what keys ask for against what they and their teams may use.

    Args:
        db: Where it is counted.
        settings: The bounds of teams that have none of their own.
    """

    def __init__(self, db: Database, settings: QuotaSettings) -> None:
        self._db = db
        self._settings = settings
        self._stored: dict[Share, tuple[float, int]] = {}
        self._teams: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._own_read = float("-inf")

    def shares(self, key: KeyRecord, name: str) -> list[Share]:
        """Return what holds for a key of a bound such as `queued_jobs`: its team's, and then its own."""
        found = (
            Share("team", key.team_id, float(key.team_quota.get(name, getattr(self._settings, name)))),
            Share("key", key.id, float(key.quota.get(name, 0))),
        )
        return [share for share in found if share.bound > 0]

    def bounds(self) -> Bounds:
        """Return the bounds of running jobs, as last read."""
        return Bounds(self._settings.concurrent_jobs, self._teams, self._keys)

    def learn(self, key: KeyRecord) -> None:
        """Take over at once how many jobs a key and its team may run, before its first job may start."""
        for bounds, whose, quota in (
            (self._teams, key.team_id, key.team_quota),
            (self._keys, key.id, key.quota),
        ):
            if "concurrent_jobs" in quota:
                bounds[whose] = int(quota["concurrent_jobs"])

    async def refresh(self) -> None:
        """Read the bounds of running jobs again, if that is some time ago."""
        if time.monotonic() - self._own_read < KEYS_S:
            return
        self._teams = await self._running_bounds(select(teams.c.id, teams.c.quota))
        self._keys = await self._running_bounds(
            select(keys.c.id, keys.c.quota).where(keys.c.revoked_at.is_(None))
        )
        self._own_read = time.monotonic()

    async def _running_bounds(self, query: Select[Any]) -> dict[str, int]:
        rows, name = await self._db.rows(query), "concurrent_jobs"
        return {row["id"]: int(row["quota"][name]) for row in rows if name in row["quota"]}

    async def check_storage(self, key: KeyRecord, more: int = 0) -> None:
        """Check whether a key may store `more` bytes. Raises `QuotaExceeded`."""
        for share in self.shares(key, "storage_bytes"):
            used = await self.stored(share)
            if used + more > share.bound:
                raise QuotaExceeded(
                    f"this {share.whose} stores {used} bytes and asks for {more} more; "
                    f"its share is {share.bound:.0f}. Delete scripts or jobs"
                )

    async def stored(self, share: Share) -> int:
        """Return how many bytes of scripts, logs and artifacts a team or a key has."""
        counted, used = self._stored.get(share, (float("-inf"), 0))
        if time.monotonic() - counted < STORAGE_S:
            return used
        used = 0
        for table, size in ((jobs, jobs.c.storage_bytes), (scripts, scripts.c.size)):
            query = select(func.sum(size)).where(table.c[share.column] == share.id)
            used += int(await self._db.scalar(query) or 0)
        self._stored[share] = (time.monotonic(), used)
        return used
