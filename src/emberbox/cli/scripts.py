"""`emberbox scripts`: code that was uploaded to a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import job_options, remote
from emberbox.cli.failures import say
from emberbox.cli.streams import Sink
from emberbox.cli.submit import check_interactive, hand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.client import AsyncClient
    from emberbox.schemas.scripts import Script

ScriptId = Annotated[str, typer.Argument(metavar="ID", help="The script's id.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = (
        ("list", show),
        ("upload", upload),
        ("get", get),
        ("content", content),
        ("delete", delete),
        ("run", run),
    )
    remote.group(app, "scripts", "Upload scripts to a server, and run them there.", *commands)


def show(
    ctx: typer.Context,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", metavar="NAME", help="Only of this runtime.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Only of this name.")] = None,
    label: remote.LabelFilter = None,
    limit: remote.Limit = remote.LISTED,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """List scripts, newest first."""

    async def work(client: AsyncClient) -> None:
        wanted = client.scripts.list(runtime=runtime, name=name, label=remote.label_of(label), limit=remote.bound(limit))
        found = await remote.take(wanted)
        columns = ("ID", "NAME", "RUNTIME", "ENTRY", "FILES", "SIZE", "CREATED")
        remote.print_list(json, found, columns, _row, right=("FILES", "SIZE"))
        if not found and not json:
            say("there are no such scripts; upload one with: emberbox scripts upload FILE")

    return remote.call(ctx, server, profile, work)


def _row(script: Script) -> tuple[str, ...]:
    return (
        script.id, script.name, script.runtime, script.entry, str(script.file_count), remote.size(script.size),
        remote.moment(script.created_at),
    )  # fmt: skip


def upload(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A script, an archive, a folder, or several.")],
    runtime: Annotated[
        str | None, typer.Option("--runtime", "-r", metavar="NAME", help="Told from the files where left out.")
    ] = None,
    entry: Annotated[str | None, typer.Option("--entry", metavar="PATH", help="The file that is run.")] = None,
    name: job_options.Name = None,
    labels: remote.Labels = None,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Upload a script and print its id. Folders go without __pycache__ and .git."""
    source: str | list[str | Path] = files[0] if len(files) == 1 else list(files)

    async def work(client: AsyncClient) -> None:
        made = await client.scripts.upload(source, runtime=runtime, entry=entry, name=name, labels=remote.read_labels(labels))
        if json:
            remote.print_one(json, made, ())
        else:
            typer.echo(made.id)

    return remote.call(ctx, server, profile, work)


def get(
    ctx: typer.Context,
    script_id: ScriptId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Show a script and its files."""

    async def work(client: AsyncClient) -> None:
        script = await client.scripts.get(script_id)
        remote.print_one(json, script, _fields(script))

    return remote.call(ctx, server, profile, work)


def _fields(script: Script) -> Iterator[tuple[str, object]]:
    yield from (("id", script.id), ("name", script.name), ("runtime", script.runtime), ("entry", script.entry))
    yield from (("labels", remote.shown_labels(script.labels)), ("created", remote.moment(script.created_at)))
    yield from (("size", remote.size(script.size)), ("SHA-256", script.sha256))
    for file in script.files or ():
        yield "file", f"{file.path} ({remote.size(file.size)})"


def content(
    ctx: typer.Context,
    script_id: ScriptId,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Print a script's content: the file, or a tar archive of its files."""

    async def work(client: AsyncClient) -> None:
        data = await client.scripts.content(script_id)
        if output is not None:
            Path(output).write_bytes(data)
        else:
            await Sink(1).write(data)

    return remote.call(ctx, server, profile, work)


def delete(ctx: typer.Context, script_id: ScriptId, server: remote.Server = None, profile: remote.ProfileName = None) -> int:
    """Delete a script. Its jobs stay."""

    async def work(client: AsyncClient) -> None:
        await client.scripts.delete(script_id)

    return remote.call(ctx, server, profile, work)


def run(
    ctx: typer.Context,
    script_id: ScriptId,
    args: job_options.Args = None,
    wait: job_options.Wait = False,
    interactive: job_options.Interactive = False,
    env: job_options.Env = None,
    files: job_options.Files = None,
    requirements: job_options.Requirements = None,
    artifacts: job_options.Artifacts = None,
    stdin: job_options.Stdin = None,
    timeout_s: job_options.Timeout = None,
    memory_mib: job_options.Memory = None,
    vcpus: job_options.Vcpus = None,
    disk_mib: job_options.Disk = None,
    priority: job_options.Priority = None,
    retries: job_options.Retries = None,
    name: job_options.Name = None,
    labels: remote.Labels = None,
    webhook: job_options.Webhook = None,
    cold: job_options.Cold = False,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Run an uploaded script as a job; see emberbox submit."""
    check_interactive(interactive, stdin, json)
    options = job_options.read(
        args=args, env=env, files=files, artifacts=artifacts, stdin=stdin, labels=labels, cold=cold, timeout_s=timeout_s,
        memory_mib=memory_mib, vcpus=vcpus, disk_mib=disk_mib, priority=priority, retries=retries, name=name, webhook=webhook,
        interactive=interactive or None, requirements=requirements,
    )  # fmt: skip
    return hand_in(
        ctx, server, profile, lambda client: client.scripts.run(script_id, wait=False, **options),
        wait=wait or interactive, json=json, interactive=interactive,
    )  # fmt: skip
