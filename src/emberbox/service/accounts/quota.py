"""What each team may use: bounds from the settings, or from its own quota."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from emberbox.store.tables import keys, teams, workers

if TYPE_CHECKING:
    from emberbox.config import CeilingSettings, QuotaSettings
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord

TEAMS_S = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs a team may run at once: `of` by its id, `default` for the others; 0 means no bound."""

    default: int = 0
    of: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether any team has a bound."""
        return self.default > 0 or any(bound > 0 for bound in self.of.values())

    def __call__(self, team_id: str) -> int:
        """Return the bound of a team."""
        return self.of.get(team_id, self.default)


class Quotas:
    """Knows what teams may use, and how many of them there are.

    Args:
        db: Has the teams' own quotas and the workers.
        settings: The bounds of teams that have none of their own.
        ceiling: The bounds of all teams together.
        places: Jobs that this process runs at once; with other workers, theirs are added.
    """

    def __init__(
        self, db: Database, settings: QuotaSettings, ceiling: CeilingSettings, *, places: int
    ) -> None:
        self.ceiling = ceiling
        self._db = db
        self._settings = settings
        self._own_places = places
        self._places = places
        self._own: dict[str, dict[str, Any]] = {}
        self._others = False
        self._read = float("-inf")

    def of(self, key: KeyRecord, name: str) -> float:
        """Return the bound of a key's team, such as `queued_jobs`; 0 means none."""
        return bound_of(key, self._settings, name)

    def precedence(self, key: KeyRecord, priority: int) -> int:
        """Return how much of a job's priority counts against other teams' jobs: none, unless it is granted."""
        return max(0, min(priority, int(self.of(key, "priority"))))

    def bounds(self) -> Bounds:
        """Return the bounds of running jobs, as last read."""
        return Bounds(self._running({}), {team: self._running(quota) for team, quota in self._own.items()})

    def _running(self, quota: Mapping[str, Any]) -> int:
        """Return how many jobs a team with this quota of its own may run at once."""
        if "concurrent_jobs" in quota:
            return int(quota["concurrent_jobs"])
        if self._settings.concurrent_jobs:
            return self._settings.concurrent_jobs
        share = float(quota.get("worker_share", self._settings.worker_share))
        return max(1, int(self._places * share)) if self._others and share < 1 else 0

    def learn(self, key: KeyRecord) -> None:
        """Take a team's own bound of running jobs over at once, before its first job may start."""
        self._own[key.team_id] = key.team_quota

    async def refresh(self) -> None:
        """Read the teams' own bounds and the workers' places again, if that is some time ago."""
        if time.monotonic() - self._read < TEAMS_S:
            return
        active = select(keys.c.team_id).where(keys.c.revoked_at.is_(None)).distinct()
        rows = await self._db.rows(select(teams.c.id, teams.c.quota).where(teams.c.id.in_(active)))
        self._own = {row["id"]: row["quota"] for row in rows}
        self._others = len(rows) > 1
        found = await self._db.scalar(select(func.sum(workers.c.concurrency)))
        self._places = max(self._own_places, int(found or 0))
        self._read = time.monotonic()


def bound_of(key: KeyRecord, settings: QuotaSettings, name: str) -> float:
    """Return a bound of a key's team by its name in the settings; 0 means none."""
    return float(key.team_quota.get(name, getattr(settings, name)))
