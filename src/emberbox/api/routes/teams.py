"""Teams: made and given quotas by the operator, and looked at by their own keys."""

from typing import Annotated

from fastapi import APIRouter, Response

from emberbox.api.auth import Manager, Operator, Reader
from emberbox.api.parts import TeamsPart
from emberbox.api.requests import Limit, Responses, cursor_of, identifier, location
from emberbox.api.views import answer, page, shown
from emberbox.errors import NotFound
from emberbox.schemas.base import Page
from emberbox.schemas.keys import CreateTeam, Team, UpdateTeam
from emberbox.service.ownership import is_operator
from emberbox.store.records import TeamRecord

router = APIRouter(tags=["teams"])

TeamId = Annotated[str, identifier("team", "team")]

_MADE: Responses = {
    201: {
        "model": Team,
        "description": "The team is there.",
        "headers": location("Where the team is found."),
    }
}


@router.post("/v1/teams", status_code=201, response_model=Team, responses=_MADE, summary="Create a team")
async def create_team(body: CreateTeam, _: Manager, teams: TeamsPart) -> Response:
    """Make a team. It has no keys yet: create one with its `team_id`."""
    record = await teams.create(body.name, quota=body.quota.model_dump(exclude_none=True))
    return answer(_team(record), 201, {"Location": f"/v1/teams/{record.id}"})


@router.get("/v1/teams", response_model=Page[Team], summary="List teams")
async def list_teams(
    _: Operator, teams: TeamsPart, cursor: Annotated[str | None, cursor_of("team")] = None, limit: Limit = 50
) -> Response:
    """List all teams, newest first."""
    records, following = await teams.list(cursor=cursor, limit=limit)
    return page(Page[Team], [_team(record) for record in records], following)


@router.get("/v1/teams/{team_id}", response_model=Team, summary="Look at a team")
async def get_team(team_id: TeamId, key: Reader, teams: TeamsPart) -> Response:
    """Return the key's own team, or any as its operator."""
    if team_id != key.team_id and not is_operator(key):
        raise NotFound("there is no such team")
    return answer(_team(await teams.get(team_id)))


@router.patch("/v1/teams/{team_id}", response_model=Team, summary="Change a team")
async def update_team(team_id: TeamId, body: UpdateTeam, _: Manager, teams: TeamsPart) -> Response:
    """Change the values that are given, from now on."""
    quota = None if body.quota is None else body.quota.model_dump(exclude_none=True)
    return answer(_team(await teams.update(team_id, name=body.name, quota=quota)))


def _team(record: TeamRecord) -> Team:
    return shown(Team, record)
