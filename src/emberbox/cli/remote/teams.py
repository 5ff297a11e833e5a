"""`emberbox teams`: to whom what is on a server belongs, and what each team may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from emberbox.cli.commands import argument, group, option
from emberbox.cli.remote.keys import Quotas, quotas_of
from emberbox.cli.remote.remote import LISTED, Limit, Remote, command, identifier
from emberbox.cli.tables import moment

if TYPE_CHECKING:
    import typer

    from emberbox.schemas.keys import Team

TeamId = Annotated[str, identifier("team")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Make teams on a server, and say what each may use, as its operator."
    group(app, "teams", text, create, list_, show, update)


@command()
async def create(
    there: Remote,
    name: Annotated[str, argument("NAME", "Lower-case letters, digits and hyphens.")],
    quotas: Quotas = None,
) -> None:
    """Make a team. Its first key is made by: emberbox keys create NAME --team ID."""
    _print(there, await there.client.teams.create(name, quota=quotas_of(quotas)))


@command()
async def list_(there: Remote, limit: Limit = LISTED) -> None:
    """List teams, newest first."""
    columns = ("ID", "NAME", "QUOTA", "CREATED")
    await there.print_list(there.client.teams.list(limit=limit or None), columns, _row)


@command()
async def show(there: Remote, team_id: TeamId) -> None:
    """Show a team; every key may look at its own."""
    _print(there, await there.client.teams.get(team_id))


@command()
async def update(
    there: Remote,
    team_id: TeamId,
    name: Annotated[str | None, option("--name", "Another name.", "NAME")] = None,
    quotas: Quotas = None,
    usual: Annotated[bool, option("--usual-quota", "Let the server's settings hold for it.")] = False,
) -> None:
    """Change a team; what is left out stays. Quotas that are given are all that it has then."""
    quota = {} if usual else quotas_of(quotas) or None
    _print(there, await there.client.teams.update(team_id, name=name, quota=quota))


def _print(there: Remote, team: Team) -> None:
    there.print_one(team, (("id", team.id), ("name", team.name), ("quota", _quota(team))))


def _row(team: Team) -> tuple[str, ...]:
    return team.id, team.name, _quota(team), moment(team.created_at)


def _quota(team: Team) -> str:
    return " ".join(f"{name}={value:.15g}" for name, value in sorted(team.quota.items())) or "usual"
