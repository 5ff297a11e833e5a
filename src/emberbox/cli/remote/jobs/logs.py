"""`emberbox logs`: what a job on a server wrote."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, cast

from emberbox.cli.commands import option
from emberbox.cli.failures import say
from emberbox.cli.remote.jobs.followed import Output, follow, told
from emberbox.cli.remote.jobs.jobs import JobId  # noqa: TC001  Typer looks at it when it runs
from emberbox.cli.remote.remote import Remote, as_json, command
from emberbox.cli.streams import Sink
from emberbox.cli.tables import print_json
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    import typer

    from emberbox.client import AsyncClient
    from emberbox.client._async.jobs import Stream


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


@command(json="Print each piece as a line of JSON.")
async def logs(
    there: Remote,
    job_id: JobId,
    follow_on: Annotated[bool, option("--follow -f", "Go on until the job has ended.")] = False,
    stream: Annotated[str | None, option("--stream", "Only stdout, or only stderr.", "NAME")] = None,
    tail: Annotated[int | None, option("--tail", "Only the last N lines.", "N", min=0)] = None,
) -> int | None:
    """Show what a job wrote, unchanged. Its standard output and standard error go to those of this command.

    With --tail, all goes to standard output. With --follow, the exit code is the program's, as for
    emberbox submit --wait; Ctrl-C leaves the job alone.
    """
    if stream not in (None, "stdout", "stderr"):
        raise InvalidInput(f"--stream is stdout or stderr, not {stream!r}")
    if tail is not None and (follow_on or there.json):
        raise InvalidInput("--tail goes without --follow and --json")
    only = cast("Stream | None", stream)
    if tail is not None:
        await Sink(1).write(await there.client.jobs.output(job_id, only, tail=tail))
    elif there.json:
        await _print_entries(there.client, job_id, only, follow_on=follow_on)
    elif follow_on:
        return await _follow(there.client, job_id, only)
    else:
        await Output().show(there.client.jobs.logs(job_id, stream=only, binary=True))
    return None


async def _print_entries(client: AsyncClient, job_id: str, stream: Stream | None, *, follow_on: bool) -> None:
    async with aclosing(client.jobs.logs(job_id, follow=follow_on, stream=stream)) as entries:
        async for entry in entries:
            print_json(as_json(entry), indent=None)


async def _follow(client: AsyncClient, job_id: str, stream: Stream | None) -> int:
    try:
        return told(await follow(client, job_id, stream=stream))
    except asyncio.CancelledError:
        say(f"{job_id} goes on; end it with: emberbox jobs cancel {job_id}")
        raise
