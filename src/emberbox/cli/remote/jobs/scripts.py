"""`emberbox scripts`: code that was uploaded to a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from emberbox.cli.commands import ARGS, argument, group, option
from emberbox.cli.options import LABELS, NAME, RUNTIME, SCRIPT_RUN, Option
from emberbox.cli.remote.jobs.submit import check_interactive, hand_in, job_parameters
from emberbox.cli.remote.remote import (
    LISTED,
    LabelFilter,
    Limit,
    Remote,
    TeamFilter,
    Work,
    command,
    identifier,
    label_of,
    read_labels,
    shown_labels,
)
from emberbox.cli.streams import Sink
from emberbox.cli.tables import moment, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from emberbox.schemas.scripts import Script

ScriptId = Annotated[str, identifier("script")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Upload scripts to a server, and run them there."
    group(app, "scripts", text, list_, upload, get, content, delete, run)


@command()
async def list_(
    there: Remote,
    runtime: Annotated[str | None, option("--runtime -r", "Only of this runtime.", "NAME")] = None,
    name: Annotated[str | None, option("--name", "Only of this name.", "TEXT")] = None,
    label: LabelFilter = None,
    team: TeamFilter = None,
    limit: Limit = LISTED,
) -> None:
    """List scripts, newest first."""
    wanted = there.client.scripts.list(
        team=team, runtime=runtime, name=name, label=label_of(label), limit=limit or None
    )
    columns = ("ID", "NAME", "RUNTIME", "ENTRY", "FILES", "SIZE", "CREATED")
    nothing = "there are no such scripts; upload one with: emberbox scripts upload FILE"
    await there.print_list(wanted, columns, _row, right=("FILES", "SIZE"), nothing=nothing)


def _row(script: Script) -> tuple[str, ...]:
    count, created = str(script.file_count), moment(script.created_at)
    return script.id, script.name, script.runtime, script.entry, count, size(script.size), created


@command(
    RUNTIME.saying("Told from the files where left out."),
    Option("entry", "--entry", "The file that is run.", str, "PATH"),
    NAME,
    LABELS,
)
async def upload(
    there: Remote,
    files: Annotated[list[str], argument("FILE...", "A script, an archive, a folder, or several.")],
    *,
    labels: list[str] | None,
    **given: Any,
) -> None:
    """Upload a script and print its id. Folders go without __pycache__ and .git."""
    source: str | list[str | Path] = files[0] if len(files) == 1 else list(files)
    made = await there.client.scripts.upload(source, labels=read_labels(labels), **given)
    there.print_id(made)


@command()
async def get(there: Remote, script_id: ScriptId) -> None:
    """Show a script and its files."""
    script = await there.client.scripts.get(script_id)
    there.print_one(script, _fields(script))


def _fields(script: Script) -> Iterator[tuple[str, object]]:
    yield from {
        "id": script.id,
        "name": script.name,
        "runtime": script.runtime,
        "entry": script.entry,
        "labels": shown_labels(script.labels),
        "created": moment(script.created_at),
        "size": size(script.size),
        "SHA-256": script.sha256,
    }.items()
    for file in script.files or ():
        yield "file", f"{file.path} ({size(file.size)})"


@command(json=None)
async def content(
    there: Remote,
    script_id: ScriptId,
    output: Annotated[str | None, option("--output -o", "Write it there.", "FILE")] = None,
) -> None:
    """Print a script's content: the file, or a tar archive of its files."""
    data = await there.client.scripts.content(script_id)
    if output is not None:
        Path(output).write_bytes(data)
    else:
        await Sink(1).write(data)


@command(json=None)
async def delete(there: Remote, script_id: ScriptId) -> None:
    """Delete a script. Its jobs stay."""
    await there.client.scripts.delete(script_id)


@command(*SCRIPT_RUN)
def run(
    there: Remote,
    script_id: ScriptId,
    args: Annotated[list[str] | None, ARGS] = None,
    *,
    wait: bool,
    interactive: bool,
    stdin: str | None,
    **given: Any,
) -> Work:
    """Run an uploaded script as a job; see emberbox submit."""
    check_interactive(interactive, stdin, there.json)
    options = job_parameters(args=args, stdin=stdin, interactive=interactive, **given)
    return hand_in(
        there,
        lambda client: client.scripts.run(script_id, wait=False, **options),
        wait=wait or interactive,
        interactive=interactive,
    )
