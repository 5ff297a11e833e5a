"""`emberbox submit`: a script as a job on a server."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from emberbox.cli import exit_codes
from emberbox.cli.commands import ARGS, argument
from emberbox.cli.inputs import check_file, check_folder, read_environment, read_files
from emberbox.cli.options import SUBMIT
from emberbox.cli.remote.jobs.followed import run_and_follow, told
from emberbox.cli.remote.remote import Remote, Work, command, read_labels
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import typer

    from emberbox.client import AsyncClient, JobParameters
    from emberbox.schemas.jobs import Job


_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit", epilog=exit_codes.SUBMIT_EPILOG)(submit)


@command(*SUBMIT)
def submit(
    there: Remote,
    file: Annotated[str | None, argument("FILE", "The script; '-' for standard input.")] = None,
    args: Annotated[list[str] | None, ARGS] = None,
    *,
    code: str | None,
    runtime: str | None,
    wait: bool,
    interactive: bool,
    output_dir: str | None,
    stdin: str | None,
    **given: Any,
) -> Work:
    """Hand a script to a server as a job.

    Prints the job's id, or, with --wait, the program's output as it comes; the exit code is then
    the program's, and Ctrl-C cancels the job. With --json, prints the job.
    """
    check_interactive(interactive, stdin, there.json)
    check_output_dir(output_dir, wait=wait or interactive)
    if runtime is None and (code is not None or file == "-"):
        raise InvalidInput("a script without a name needs a runtime: --runtime NAME; see emberbox runtimes")
    words = [*([] if file is None else [file]), *(args or [])]
    source: str | bytes | Path = (
        code
        if code is not None
        else _read_script(words.pop(0) if words else None, stdin, named=runtime is not None)
    )
    options = job_parameters(args=words, stdin=stdin, interactive=interactive, **given)
    return hand_in(
        there,
        lambda client: client.jobs.submit(source, runtime=runtime, **options),
        wait=wait or interactive,
        interactive=interactive,
        output_dir=output_dir,
    )


async def hand_in(
    there: Remote,
    submitting: Callable[[AsyncClient], Awaitable[Job]],
    *,
    wait: bool,
    interactive: bool = False,
    output_dir: str | None = None,
) -> int:
    """Submit a job and tell of it; returns the exit code."""
    client = there.client
    if not wait:
        job = await submitting(client)
        there.print_id(job)
        return exit_codes.OK
    job = await run_and_follow(client, submitting(client), quiet=there.json, interactive=interactive)
    if output_dir is not None and job.artifacts != []:
        await client.jobs.download_all(job.id, Path(output_dir))
    if not there.json:
        return told(job)
    there.print_id(job)
    return exit_codes.of_job(job)


def check_interactive(interactive: bool, stdin: str | None, json: bool) -> None:
    """Raise `InvalidInput` for options that make no sense with `--interactive`."""
    if interactive and (stdin is not None or json):
        raise InvalidInput(
            "--interactive passes standard input as it comes, and shows output so: "
            "it goes without --stdin and --json"
        )


def check_output_dir(output_dir: str | None, *, wait: bool) -> None:
    """Raise `InvalidInput` for a folder that cannot take a job's files."""
    if output_dir is None:
        return
    if not wait:
        raise InvalidInput(
            "--output-dir needs --wait: files come with the job's end; "
            "later: emberbox jobs download ID -o DIR"
        )
    check_folder(output_dir)


def _read_script(file: str | None, stdin: str | None, *, named: bool) -> Path | bytes:
    if file is None:
        raise InvalidInput("name the script to run, or give its text with -c; see emberbox submit --help")
    if file != "-":
        upload = f"emberbox scripts upload {shlex.quote(file)}"
        check_file(Path(file), f", or upload all of it with: {upload}")
        if not named and file.lower().endswith(_ARCHIVES):
            raise InvalidInput(
                f"{file!r} is an archive; upload it with: {upload}, "
                "and run that with: emberbox scripts run ID"
            )
        return Path(file)
    if stdin == "-":
        raise InvalidInput("standard input can be the script or what it reads, not both")
    return sys.stdin.buffer.read()


def job_parameters(
    *,
    args: Sequence[str] | None,
    env: Sequence[str] | None,
    secret_env: Sequence[str] | None = None,
    files: Sequence[str] | None,
    artifacts: Sequence[str] | None,
    stdin: str | None,
    labels: Sequence[str] | None,
    requirements: str | None = None,
    **plain: Any,
) -> JobParameters:
    """Return what was asked for as the client takes it; what was not, and a switch that is off, is left out.

    Raises:
        InvalidInput: A file that is not there or names no packages, a variable or a label that is none.
    """
    options: dict[str, Any] = {
        **plain,
        "args": list(args or ()),
        "env": read_environment(env or ()),
        "secret_env": read_environment(secret_env or (), "--secret-env"),
        "files": {**read_files(files or ()), **_read_requirements(requirements)},
        "artifacts": list(artifacts or ()),
        "labels": read_labels(labels),
        "stdin": None if stdin is None else _read_stdin(stdin),
    }
    nothing: tuple[Any, ...] = (None, [], {})
    wanted = {name: value for name, value in options.items() if value is not False and value not in nothing}
    return cast("JobParameters", wanted)


def _read_requirements(file: str | None) -> dict[str, bytes]:
    """Return the file that names packages, under the name by which the server knows such a file."""
    if file is None:
        return {}
    # The engine's modules take a while to import, and most jobs need none of them here.
    from emberbox.sandbox.packages.requests import PackageRequest

    return dict(PackageRequest.of_path(Path(file)).files)


def _read_stdin(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    check_file(Path(file))
    return Path(file).read_bytes()
