"""`emberbox jobs`: the jobs of a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import exit_codes, remote
from emberbox.cli.failures import say
from emberbox.cli.submit import hand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.client import AsyncClient
    from emberbox.schemas.jobs import CompileReport, Job

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
Status = Annotated[str | None, typer.Option("--status", "-s", metavar="STATUS", help="Only queued, running, succeeded, …")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = (
        ("list", show),
        ("get", get),
        ("wait", wait),
        ("cancel", cancel),
        ("rerun", rerun),
        ("delete", delete),
        ("artifacts", artifacts),
        ("download", download),
    )
    remote.group(app, "jobs", "List, look at, cancel, and repeat the jobs of a server.", *commands)


def show(
    ctx: typer.Context,
    status: Status = None,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", metavar="NAME", help="Only of this runtime.")] = None,
    script: Annotated[str | None, typer.Option("--script", metavar="ID", help="Only of this script.")] = None,
    label: remote.LabelFilter = None,
    limit: remote.Limit = remote.LISTED,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """List jobs, newest first."""

    async def work(client: AsyncClient) -> None:
        found = await remote.take(
            client.jobs.list(
                status=status, runtime=runtime, script_id=script, label=remote.label_of(label), limit=remote.bound(limit)
            )
        )
        remote.print_list(json, found, ("ID", "STATUS", "RUNTIME", "NAME", "CREATED", "RAN", "EXIT"), _row, right=("RAN", "EXIT"))
        if not found and not json:
            say("there are no such jobs; hand one in with: emberbox submit FILE")

    return remote.call(ctx, server, profile, work)


def _row(job: Job) -> tuple[str, ...]:
    ran = "-" if job.metrics is None else f"{job.metrics.run_ms / 1000:.2f} s"
    return (
        job.id, job.status.value, job.runtime, job.name or job.entry, remote.moment(job.times.created_at), ran, _ended(job),
    )  # fmt: skip


def _ended(job: Job) -> str:
    if job.signal is not None:
        return f"signal {job.signal}"
    return "-" if job.exit_code is None else str(job.exit_code)


def get(
    ctx: typer.Context,
    job_id: JobId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Show a job."""

    async def work(client: AsyncClient) -> None:
        job = await client.jobs.get(job_id)
        remote.print_one(json, job, _fields(job))

    return remote.call(ctx, server, profile, work)


def _fields(job: Job) -> Iterator[tuple[str, object]]:
    yield from (("id", job.id), ("name", job.name), ("status", job.status.value), ("reason", job.reason and job.reason.value))
    yield from (("message", job.message), ("exit code", job.exit_code), ("signal", job.signal))
    yield from (("runtime", job.runtime), ("script", job.script_id), ("entry", job.entry), ("rerun of", job.rerun_of))
    yield from (("arguments", " ".join(job.args)), ("labels", remote.shown_labels(job.labels)))
    yield ("attempt", f"{job.attempt}, with {job.retries} retries allowed" if job.retries else job.attempt)
    yield from (
        ("created", remote.moment(job.times.created_at)),
        ("ended", job.times.ended_at and remote.moment(job.times.ended_at)),
    )
    if job.metrics is not None:
        times = job.metrics
        yield "waited", f"{times.wait_ms:.0f} ms in the queue, {times.queue_ms + times.boot_ms:.0f} ms for a VM ({times.source})"
        cpu = f"CPU {times.cpu_user_ms:.0f} ms user, {times.cpu_system_ms:.0f} ms system"
        yield "ran", f"{times.run_ms:.0f} ms, {cpu}, {times.peak_memory_mib:.1f} MiB at its peak"
    if job.compile is not None:
        yield "compiled", _compiled(job.compile)
    yield "output", f"{remote.size(job.stdout_bytes)} to stdout, {remote.size(job.stderr_bytes)} to stderr"
    for artifact in job.artifacts or ():
        yield "artifact", f"{artifact.path} ({remote.size(artifact.size)})"


def _compiled(told: CompileReport) -> str:
    if told.cached:
        return f"{told.wall_ms:.0f} ms, cached: put back as it was compiled before"
    code = "" if told.exit_code is None else f", exit code {told.exit_code}"
    return f"{told.wall_ms:.0f} ms, {told.reason}{code}, CPU {told.cpu_ms:.0f} ms, {told.peak_memory_mib:.1f} MiB at its peak"


def wait(
    ctx: typer.Context,
    job_id: JobId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Wait for a job's end. The exit code is the program's, as for emberbox submit --wait; Ctrl-C leaves the job alone."""

    async def work(client: AsyncClient) -> int:
        job = await client.jobs.wait(job_id)
        remote.print_one(json, job, _fields(job))
        return exit_codes.of_job(job)

    return remote.call(ctx, server, profile, work)


def cancel(
    ctx: typer.Context,
    job_id: JobId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """End a job, queued or running."""

    async def work(client: AsyncClient) -> None:
        job = await client.jobs.cancel(job_id)
        remote.print_one(json, job, (("id", job.id), ("status", job.status.value)))

    return remote.call(ctx, server, profile, work)


def rerun(
    ctx: typer.Context,
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Wait, and show output as it comes.")] = False,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Hand in a job again, as it was. Prints the new job's id."""
    return hand_in(ctx, server, profile, lambda client: client.jobs.rerun(job_id), wait=wait, json=json)


def delete(ctx: typer.Context, job_id: JobId, server: remote.Server = None, profile: remote.ProfileName = None) -> int:
    """Delete a job that has ended, with its log and its artifacts."""

    async def work(client: AsyncClient) -> None:
        await client.jobs.delete(job_id)

    return remote.call(ctx, server, profile, work)


def artifacts(
    ctx: typer.Context,
    job_id: JobId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """List the files that a job left behind."""

    async def work(client: AsyncClient) -> None:
        found = await remote.take(client.jobs.artifacts(job_id))
        columns = ("ID", "PATH", "SIZE", "SHA-256")
        remote.print_list(
            json, found, columns, lambda file: (file.id, file.path, remote.size(file.size), file.sha256), right=("SIZE",)
        )
        if not found and not json:
            await _say_why_nothing(client, job_id)

    return remote.call(ctx, server, profile, work)


async def _say_why_nothing(client: AsyncClient, job_id: str) -> None:
    job = await client.jobs.get(job_id)
    if job.status.terminal:
        say("it left nothing in its output folder; name other files to keep with: emberbox submit --artifact GLOB")
    else:
        say(f"the job is {job.status.value}; what it leaves behind comes with its end: emberbox jobs wait {job.id}")


def download(
    ctx: typer.Context,
    job_id: JobId,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Ids or paths; all where left out.", show_default=False)
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where to; made where it is not there.")] = ".",
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Fetch the files that a job left behind, with their folders. Existing files are replaced."""

    async def work(client: AsyncClient) -> None:
        found = await client.jobs.download_all(job_id, Path(output), only=names or None)
        if json:
            remote.print_line([str(path) for path in found])
            return
        for path in found:
            typer.echo(str(path))
        if not found:
            await _say_why_nothing(client, job_id)

    return remote.call(ctx, server, profile, work)
