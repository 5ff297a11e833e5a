"""What each team may use, and each of its keys: bounds from the settings, the team or the key.

A team's bounds hold for all its keys together. They are the settings', unless the team has its own.
A key's own bounds come on top: a key may be held to less than its team, and never gets more.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy import func, select

from emberbox.store.tables import keys, teams, workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emberbox.config import CeilingSettings, QuotaSettings
    from emberbox.store import Database
    from emberbox.store.records import JobRecord, KeyRecord

KEYS_S = 2.0


class Charged(Protocol):
    """What is charged to a team and to one of its keys."""

    @property
    def team_id(self) -> str:
        """Whose it is."""

    @property
    def key_id(self) -> str:
        """Who brought it."""


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

    def full(self, running: Iterable[Charged]) -> tuple[set[str], set[str]]:
        """Return the teams and the keys of which no more may start beside the jobs that run."""
        of_teams, of_keys = Counter[str](), Counter[str]()
        for job in running:
            of_teams[job.team_id] += 1
            of_keys[job.key_id] += 1
        return (
            {team for team, count in of_teams.items() if 0 < self.of.get(team, self.default) <= count},
            {key for key, count in of_keys.items() if 0 < self.of_keys.get(key, 0) <= count},
        )


class Quotas:
    """Knows what keys and their teams may use, and how many teams there are.

    Args:
        db: Has the own quotas of teams and keys, and the workers.
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
        self._teams: dict[str, Mapping[str, float]] = {}
        self._keys: dict[str, Mapping[str, float]] = {}
        self._active: set[str] = set()
        self._own_read = float("-inf")

    def shares(self, key: KeyRecord, name: str) -> list[Share]:
        """Return what holds for a key of a bound such as `queued_jobs`: its team's, and then its own."""
        return shares_of(key, self._settings, name)

    def shares_of_job(self, job: JobRecord, name: str) -> list[Share]:
        """Return what holds for a job, by the quotas of its team and key as last read."""
        team, key = self._teams.get(job.team_id, {}), self._keys.get(job.key_id, {})
        return _shares((job.team_id, team), (job.key_id, key), self._settings, name)

    def precedence(self, key: KeyRecord, priority: int) -> int:
        """Return how much of a job's priority counts against other teams: none, unless it is granted."""
        granted = key.team_quota.get("priority", self._settings.priority)
        return max(0, min(priority, int(granted), int(key.quota.get("priority") or granted)))

    # -- jobs that run ----------------------------------------------------------------------------

    def bounds(self) -> Bounds:
        """Return the bounds of running jobs, as last read."""
        return Bounds(
            self._running({}),
            {team: self._running(quota) for team, quota in list(self._teams.items())},
            {
                key: int(quota["concurrent_jobs"])
                for key, quota in list(self._keys.items())
                if "concurrent_jobs" in quota
            },
        )

    def _running(self, quota: Mapping[str, float]) -> int:
        """Return how many jobs a team with this quota of its own may run at once."""
        if "concurrent_jobs" in quota:
            return int(quota["concurrent_jobs"])
        if self._settings.concurrent_jobs:
            return self._settings.concurrent_jobs
        share = quota.get("worker_share") or self._settings.worker_share
        return max(1, int(self._places * share)) if len(self._active) > 1 and share < 1 else 0

    def learn(self, key: KeyRecord) -> None:
        """Take a key, its team and their quotas over at once, before its first job may start."""
        if key.team_id not in self._active:
            # Others may be new as well: all are read again before anything is claimed.
            self._active.add(key.team_id)
            self._own_read = float("-inf")
        self._teams[key.team_id] = key.team_quota
        self._keys[key.id] = key.quota

    async def refresh(self) -> None:
        """Read the quotas of teams and keys and the workers' places again, if that is some time ago."""
        if time.monotonic() - self._own_read < KEYS_S:
            return
        active = keys.c.revoked_at.is_(None)
        own = await self._db.rows(select(keys.c.id, keys.c.team_id, keys.c.quota).where(active))
        self._keys = {row["id"]: row["quota"] for row in own}
        found: Any = await self._db.rows(select(teams.c.id, teams.c.quota))
        self._teams = {row["id"]: row["quota"] for row in found}
        self._active = {row["team_id"] for row in own}
        places = await self._db.scalar(select(func.sum(workers.c.concurrency)))
        self._places = max(self._own_places, int(places or 0))
        self._own_read = time.monotonic()


def shares_of(key: KeyRecord, settings: QuotaSettings, name: str) -> list[Share]:
    """Return what holds for a key of a bound: its team's, and then its own."""
    return _shares((key.team_id, key.team_quota), (key.id, key.quota), settings, name)


def _shares(
    team: tuple[str, Mapping[str, float]],
    key: tuple[str, Mapping[str, float]],
    settings: QuotaSettings,
    name: str,
) -> list[Share]:
    """Return the shares of a team and a key, of which each comes with its id and its own quota."""
    (team_id, of_team), (key_id, of_key) = team, key
    found = (
        Share("team", team_id, float(of_team.get(name, getattr(settings, name)))),
        Share("key", key_id, float(of_key.get(name, 0))),
    )
    return [share for share in found if share.bound > 0]
