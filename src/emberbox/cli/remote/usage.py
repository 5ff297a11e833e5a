"""`emberbox usage`: what was used on a server."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

from emberbox.cli.commands import option
from emberbox.cli.remote.remote import Remote, TeamFilter, as_json, command
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    import typer

    from emberbox.schemas.usage import UsageDay, UsageReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage")(usage)


@command()
async def usage(
    there: Remote,
    since: Annotated[
        str | None, option("--since", "First day (UTC); usually 29 days ago.", "YYYY-MM-DD")
    ] = None,
    until: Annotated[str | None, option("--until", "Last day; usually today.", "YYYY-MM-DD")] = None,
    team: TeamFilter = None,
) -> None:
    """Show jobs and CPU time by day, newest first."""
    from emberbox.cli.tables import print_json, print_table

    report = await there.client.usage(_day("--since", since), _day("--until", until), team=team)
    if there.json:
        print_json(as_json(report))
        return
    days = sorted(report.days, key=lambda day: day.day, reverse=True)
    rows = [(str(day.day), day.team_id, day.key_id, *_numbers(day)) for day in days]
    columns = ("DAY", "TEAM", "KEY", "JOBS", "SUCCEEDED", "CPU S", "RUN S")
    print_table(columns, [*rows, ("all", "", "", *_numbers(report))], right=columns[3:])


def _numbers(used: UsageReport | UsageDay) -> tuple[str, ...]:
    return str(used.jobs), str(used.succeeded), f"{used.cpu_s:.1f}", f"{used.run_s:.1f}"


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{option} {text!r}: give a day as 2030-12-31") from None
