"""Usage: what teams and their keys used, by day."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator

from emberbox.api.auth import Reader
from emberbox.api.parts import UsagePart
from emberbox.api.requests import TeamFilter
from emberbox.api.views import answer
from emberbox.errors import InvalidInput
from emberbox.schemas.usage import UsageDay, UsageReport
from emberbox.service.ownership import team_of_list

router = APIRouter(tags=["usage"])


def _spelled(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a day such as 2026-01-31")
    return text


Day = Annotated[date, BeforeValidator(_spelled)]
"""A day as RFC 3339 writes it; a number is none."""

_LONGEST = timedelta(days=366)
_USUAL = timedelta(days=29)


@router.get("/v1/usage", response_model=UsageReport, summary="Look at usage")
async def get_usage(
    key: Reader,
    usage: UsagePart,
    since: Annotated[
        Day | None, Query(description="First day (UTC); 29 days before `until` if not given.")
    ] = None,
    until: Annotated[
        Day | None,
        Query(description="Last day (UTC), included; today if not given, but not more than 366 days in all."),
    ] = None,
    team: TeamFilter = None,
) -> Response:
    """Return a team's jobs that ended, CPU and running time by day and key, at most 366 days at once."""
    whose = team_of_list(key, team)
    first, last = _span(since, until)
    rows = await usage.read(team_id=whose, since=first.isoformat(), until=last.isoformat())
    return answer(
        UsageReport(
            since=first,
            until=last,
            days=[UsageDay.model_validate(row, from_attributes=True) for row in rows],
            jobs=sum(row.jobs for row in rows),
            succeeded=sum(row.succeeded for row in rows),
            cpu_s=sum(row.cpu_s for row in rows),
            run_s=sum(row.run_s for row in rows),
        )
    )


def _span(since: date | None, until: date | None) -> tuple[date, date]:
    today = datetime.now(UTC).date()
    last = until or (
        today if since is None or today - since < _LONGEST else since + _LONGEST - timedelta(days=1)
    )
    first = since or max(date.min + _USUAL, last) - _USUAL
    if first > last:
        raise InvalidInput("since must not be after until")
    if last - first >= _LONGEST:
        raise InvalidInput(f"at most {_LONGEST.days} days can be asked for at once")
    return first, last
