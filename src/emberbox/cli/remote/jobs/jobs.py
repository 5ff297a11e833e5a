"""`emberbox jobs`: the jobs of a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from emberbox.cli import exit_codes
from emberbox.cli.commands import argument, group, option
from emberbox.cli.failures import printable, say
from emberbox.cli.options import WAIT
from emberbox.cli.remote.jobs.submit import hand_in
from emberbox.cli.remote.remote import (
    LISTED,
    LabelFilter,
    Limit,
    Remote,
    command,
    identifier,
    label_of,
    shown_labels,
)
from emberbox.cli.tables import moment, print_json, size, write_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from emberbox.client import AsyncClient
    from emberbox.schemas.jobs import Artifact, CompileReport, Job, JobMetrics

JobId = Annotated[str, identifier("job")]
Status = Annotated[str | None, option("--status -s", "Only queued, running, succeeded, …", "STATUS")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "List, look at, cancel, and repeat the jobs of a server."
    group(app, "jobs", text, list_, get, wait, cancel, rerun, delete, artifacts, download)


@command()
async def list_(
    there: Remote,
    status: Status = None,
    runtime: Annotated[str | None, option("--runtime -r", "Only of this runtime.", "NAME")] = None,
    script: Annotated[str | None, option("--script", "Only of this script.", "ID")] = None,
    label: LabelFilter = None,
    limit: Limit = LISTED,
) -> None:
    """List jobs, newest first."""
    jobs = there.client.jobs.list(
        status=status,
        runtime=runtime,
        script_id=script,
        label=label_of(label),
        limit=limit or None,
    )
    columns = ("ID", "STATUS", "RUNTIME", "NAME", "CREATED", "RAN", "EXIT")
    nothing = "there are no such jobs; hand one in with: emberbox submit FILE"
    await there.print_list(jobs, columns, _row, right=("RAN", "EXIT"), nothing=nothing)


def _row(job: Job) -> tuple[str, ...]:
    ran = "-" if job.metrics is None else f"{job.metrics.run_ms / 1000:.2f} s"
    created = moment(job.times.created_at)
    return job.id, job.status.value, job.runtime, job.name or job.entry, created, ran, _ended(job)


def _ended(job: Job) -> str:
    if job.signal is not None:
        return f"signal {job.signal}"
    return "-" if job.exit_code is None else str(job.exit_code)


@command()
async def get(there: Remote, job_id: JobId) -> None:
    """Show a job."""
    job = await there.client.jobs.get(job_id)
    there.print_one(job, _fields(job))


def _fields(job: Job) -> Iterator[tuple[str, object]]:
    yield from {
        "id": job.id,
        "name": job.name,
        "status": job.status.value,
        "reason": job.reason and job.reason.value,
        "message": job.message,
        "exit code": job.exit_code,
        "signal": job.signal,
        "runtime": job.runtime,
        "script": job.script_id,
        "entry": job.entry,
        "rerun of": job.rerun_of,
        "arguments": " ".join(job.args),
        "labels": shown_labels(job.labels),
        "attempt": f"{job.attempt}, with {job.retries} retries allowed" if job.retries else job.attempt,
        "created": moment(job.times.created_at),
        "ended": job.times.ended_at and moment(job.times.ended_at),
    }.items()
    if job.metrics is not None:
        yield from _measured(job.metrics)
    if job.compile is not None:
        yield "compiled", _compiled(job.compile)
    yield "output", f"{size(job.stdout_bytes)} to stdout, {size(job.stderr_bytes)} to stderr"
    for artifact in job.artifacts or ():
        yield "artifact", f"{artifact.path} ({size(artifact.size)})"


def _measured(times: JobMetrics) -> Iterator[tuple[str, str]]:
    machine = f"{times.queue_ms + times.boot_ms:.0f} ms for a VM ({times.source})"
    yield "waited", f"{times.wait_ms:.0f} ms in the queue, {machine}"
    cpu = f"CPU {times.cpu_user_ms:.0f} ms user, {times.cpu_system_ms:.0f} ms system"
    yield "ran", f"{times.run_ms:.0f} ms, {cpu}, {times.peak_memory_mib:.1f} MiB at its peak"


def _compiled(told: CompileReport) -> str:
    if told.cached:
        return f"{told.wall_ms:.0f} ms, cached: put back as it was compiled before"
    code = "" if told.exit_code is None else f", exit code {told.exit_code}"
    took = f"CPU {told.cpu_ms:.0f} ms, {told.peak_memory_mib:.1f} MiB at its peak"
    return f"{told.wall_ms:.0f} ms, {told.reason}{code}, {took}"


@command()
async def wait(there: Remote, job_id: JobId) -> int:
    """Wait for a job's end.

    The exit code is the program's, as for emberbox submit --wait; Ctrl-C leaves the job alone.
    """
    job = await there.client.jobs.wait(job_id)
    there.print_one(job, _fields(job))
    return exit_codes.of_job(job)


@command()
async def cancel(there: Remote, job_id: JobId) -> None:
    """End a job, queued or running."""
    job = await there.client.jobs.cancel(job_id)
    there.print_one(job, (("id", job.id), ("status", job.status.value)))


@command(WAIT)
async def rerun(there: Remote, job_id: JobId, *, wait: bool) -> int:
    """Hand in a job again, as it was. Prints the new job's id."""
    return await hand_in(there, lambda client: client.jobs.rerun(job_id), wait=wait)


@command(json=None)
async def delete(there: Remote, job_id: JobId) -> None:
    """Delete a job that has ended, with its log and its artifacts."""
    await there.client.jobs.delete(job_id)


@command()
async def artifacts(there: Remote, job_id: JobId) -> None:
    """List the files that a job left behind."""
    found = there.client.jobs.artifacts(job_id)
    if not await there.print_list(found, ("ID", "PATH", "SIZE", "SHA-256"), _file, right=("SIZE",)):
        await _say_why_nothing(there.client, job_id)


def _file(file: Artifact) -> tuple[str, ...]:
    return file.id, file.path, size(file.size), file.sha256


async def _say_why_nothing(client: AsyncClient, job_id: str) -> None:
    job = await client.jobs.get(job_id)
    if job.status.terminal:
        say(
            "it left nothing in its output folder; "
            "name other files to keep with: emberbox submit --artifact GLOB"
        )
    else:
        say(
            f"the job is {job.status.value}; "
            f"what it leaves behind comes with its end: emberbox jobs wait {job.id}"
        )


@command()
async def download(
    there: Remote,
    job_id: JobId,
    names: Annotated[list[str] | None, argument("[FILE]...", "Ids or paths; all where left out.")] = None,
    output: Annotated[str, option("--output -o", "Where to; made where it is not there.", "DIR")] = ".",
) -> None:
    """Fetch the files that a job left behind, with their folders. Existing files are replaced."""
    found = await there.client.jobs.download_all(job_id, Path(output), only=names or None)
    if there.json:
        print_json([str(path) for path in found], indent=None)
        return
    for path in found:
        write_out(f"{printable(str(path))}\n")
    if not found:
        await _say_why_nothing(there.client, job_id)
