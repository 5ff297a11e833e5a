"""`emberbox usage`: what was used on a server."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import remote
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.client import AsyncClient


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage")(usage)


def usage(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="YYYY-MM-DD", help="First day (UTC); usually 29 days ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="YYYY-MM-DD", help="Last day; usually today.")] = None,
    all_keys: Annotated[bool, typer.Option("--all-keys", help="Of every key; needs the scope admin.")] = False,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Show jobs and CPU time by day, newest first."""
    first, last = _day("--since", since), _day("--until", until)

    async def work(client: AsyncClient) -> None:
        from emberbox.cli.tables import print_json, print_table

        report = await client.usage(first, last, all_keys=all_keys)
        if json:
            print_json(remote.as_json(report))
            return
        days = sorted(report.days, key=lambda day: day.day, reverse=True)
        rows = [
            (str(day.day), day.key_id, str(day.jobs), str(day.succeeded), f"{day.cpu_s:.1f}", f"{day.run_s:.1f}") for day in days
        ]
        total = ("all", "", str(report.jobs), str(report.succeeded), f"{report.cpu_s:.1f}", f"{report.run_s:.1f}")
        columns = ("DAY", "KEY", "JOBS", "SUCCEEDED", "CPU S", "RUN S")
        print_table(columns, [*rows, total], right=columns[2:])

    return remote.call(ctx, server, profile, work)


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{option} {text!r}: give a day as 2030-12-31") from None
