"""`emberbox submit`: a script as a job on a server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import exit_codes, job_options, remote
from emberbox.cli.followed import run_and_follow, told
from emberbox.cli.output_files import check_folder
from emberbox.cli.run_inputs import check_file
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.client import AsyncClient
    from emberbox.schemas.jobs import Job


_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit", epilog=exit_codes.SUBMIT_EPILOG)(submit)


def submit(
    ctx: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The script; '-' for standard input.", show_default=False)
    ] = None,
    args: job_options.Args = None,
    code: Annotated[str | None, typer.Option("--code", "-c", metavar="CODE", help="The script's text, instead of FILE.")] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", "-r", metavar="NAME", help="Told from FILE where left out.")] = None,
    wait: job_options.Wait = False,
    interactive: job_options.Interactive = False,
    env: job_options.Env = None,
    files: job_options.Files = None,
    requirements: job_options.Requirements = None,
    artifacts: job_options.Artifacts = None,
    output_dir: job_options.OutputDir = None,
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
    """Hand a script to a server as a job.

    Prints the job's id, or, with --wait, the program's output as it comes; the exit code is then the program's, and Ctrl-C
    cancels the job. With --json, prints the job.
    """
    check_interactive(interactive, stdin, json)
    check_output_dir(output_dir, wait=wait or interactive)
    if runtime is None and (code is not None or file == "-"):
        raise InvalidInput("a script without a name needs a runtime: --runtime NAME; see emberbox runtimes")
    words = [*([] if file is None else [file]), *(args or [])]
    source: str | bytes | Path = (
        code if code is not None else _read_script(words.pop(0) if words else None, stdin, named=runtime is not None)
    )
    options = job_options.read(
        args=words, env=env, files=files, artifacts=artifacts, stdin=stdin, labels=labels, cold=cold, timeout_s=timeout_s,
        memory_mib=memory_mib, vcpus=vcpus, disk_mib=disk_mib, priority=priority, retries=retries, name=name, webhook=webhook,
        interactive=interactive or None, requirements=requirements,
    )  # fmt: skip
    return hand_in(
        ctx, server, profile, lambda client: client.jobs.submit(source, runtime=runtime, **options),
        wait=wait or interactive, json=json, interactive=interactive, output_dir=output_dir,
    )  # fmt: skip


def hand_in(
    ctx: typer.Context,
    server: str | None,
    profile: str | None,
    submitting: Callable[[AsyncClient], Awaitable[Job]],
    *,
    wait: bool,
    json: bool,
    interactive: bool = False,
    output_dir: str | None = None,
) -> int:
    """Submit a job and tell of it; returns the exit code."""

    async def work(client: AsyncClient) -> int:
        if not wait:
            job = await submitting(client)
            print_job(job, json=json)
            return exit_codes.OK
        job = await run_and_follow(client, submitting(client), quiet=json, interactive=interactive)
        if output_dir is not None and job.artifacts != []:
            await client.jobs.download_all(job.id, Path(output_dir))
        if not json:
            return told(job)
        print_job(job, json=True)
        return exit_codes.of_job(job)

    return remote.call(ctx, server, profile, work)


def check_interactive(interactive: bool, stdin: str | None, json: bool) -> None:
    """Raise `InvalidInput` for options that make no sense with `--interactive`."""
    if interactive and (stdin is not None or json):
        raise InvalidInput(
            "--interactive passes standard input as it comes, and shows output so: it goes without --stdin and --json"
        )


def check_output_dir(output_dir: str | None, *, wait: bool) -> None:
    """Raise `InvalidInput` for a folder that cannot take a job's files."""
    if output_dir is None:
        return
    if not wait:
        raise InvalidInput("--output-dir needs --wait: files come with the job's end; later: emberbox jobs download ID -o DIR")
    check_folder(output_dir)


def print_job(job: Job, *, json: bool) -> None:
    """Print a job's id, or all of it as JSON."""
    from emberbox.cli.tables import print_json

    if json:
        print_json(remote.as_json(job))
    else:
        typer.echo(job.id)


def _read_script(file: str | None, stdin: str | None, *, named: bool) -> Path | bytes:
    import sys

    if file is None:
        raise InvalidInput("name the script to run, or give its text with -c; see emberbox submit --help")
    if file != "-":
        upload = f"emberbox scripts upload {shlex.quote(file)}"
        check_file(Path(file), f", or upload all of it with: {upload}")
        if not named and file.lower().endswith(_ARCHIVES):
            raise InvalidInput(f"{file!r} is an archive; upload it with: {upload}, and run that with: emberbox scripts run ID")
        return Path(file)
    if stdin == "-":
        raise InvalidInput("standard input can be the script or what it reads, not both")
    return sys.stdin.buffer.read()
