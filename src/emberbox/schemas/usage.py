"""Usage: what teams and their keys used, by day."""

from __future__ import annotations

from datetime import date  # noqa: TC003  Pydantic looks at it when it runs

from emberbox.schemas.base import Answer


class UsageDay(Answer):
    """What one key used on one day (UTC). Days on which no job ended are left out."""

    team_id: str
    key_id: str
    day: date
    jobs: int
    succeeded: int
    cpu_s: float
    run_s: float


class UsageReport(Answer):
    """Usage from `since` to `until`, both included, by day, team and key, and its sum."""

    since: date
    until: date
    days: list[UsageDay]
    jobs: int
    succeeded: int
    cpu_s: float
    run_s: float
